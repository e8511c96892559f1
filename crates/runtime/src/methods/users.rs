//! `users.*`: whose chats there are, and whose new ones will be.

use nox_core::user_id;
use nox_protocol::{UserInfo, UsersListResult, UsersSetResult};
use nox_store::{UserId, What};

use super::wire;
use crate::error::RuntimeError;
use crate::params::Params;
use crate::runtime::Shared;
use crate::stored::USER_KEY;

impl Shared {
    pub(super) fn users_list(&self) -> Result<UsersListResult, RuntimeError> {
        let current = self.chats.stored().user.id.clone();
        let users = self.chats.with(|store| store.users())?;
        let mut users: Vec<UserInfo> = users
            .into_iter()
            .map(|user| {
                let is_current = user.id == current;
                wire::user(user, is_current)
            })
            .collect();
        users.sort_by_cached_key(|user| (!user.current, user.display.to_lowercase()));
        Ok(UsersListResult { users })
    }

    pub(super) fn users_set(&self, params: &Params<'_>) -> Result<UsersSetResult, RuntimeError> {
        let name = params.str("user")?;
        let user = self.set_user(name, params.optional_str("display")?)?;
        Ok(UsersSetResult { user })
    }

    /// Makes the user of this name, or of this id, the current one.
    pub(super) fn set_user(
        &self,
        name: &str,
        display: Option<&str>,
    ) -> Result<UserInfo, RuntimeError> {
        let wanted = UserId::parse(&user_id(name))?;
        let user = self.chats.change_stored(|store| {
            let user = store.user_named(name, &wanted, display)?;
            store.set_setting(USER_KEY, Some(user.id.as_str()))?;
            Ok(user)
        })?;
        Ok(wire::user(user, true))
    }

    /// Whose chats are meant: by default the current user's; `None` for everybody's.
    pub(super) fn whose(&self, params: &Params<'_>) -> Result<Option<UserId>, RuntimeError> {
        match params.optional_str("user")? {
            None => Ok(Some(self.chats.stored().user.id.clone())),
            Some("*") => Ok(None),
            Some(name) => Ok(Some(self.chats.with(|store| store.user(name))?.id)),
        }
    }

    /// As [`whose`](Self::whose), where it can't be everybody.
    pub(super) fn whose_alone(&self, params: &Params<'_>) -> Result<UserId, RuntimeError> {
        let user = self.whose(params)?;
        user.ok_or_else(|| {
            nox_store::StoreError::NotFound {
                what: What::User,
                name: "*".to_owned(),
            }
            .into()
        })
    }
}

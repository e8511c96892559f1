//! Folders of the origin private file system.

use js_sys::{AsyncIterator, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{FileSystemDirectoryHandle, FileSystemGetDirectoryOptions, StorageManager};

use crate::js;

/// The storage of this origin.
///
/// # Errors
/// Why this browser, or this page, has no private file system.
pub(crate) fn storage() -> Result<StorageManager, String> {
    let manager = js::scope().navigator().storage();
    match js::method(&manager, "getDirectory") {
        Some(_) => Ok(manager),
        None => Err("this browser has no private file system".to_owned()),
    }
}

/// The folder at `path` from the root, made if it is not there.
///
/// # Errors
/// What the browser says.
pub(crate) async fn open(
    manager: &StorageManager,
    path: &[&str],
) -> Result<FileSystemDirectoryHandle, JsValue> {
    let root = JsFuture::from(manager.get_directory()).await?;
    let mut folder: FileSystemDirectoryHandle = root.unchecked_into();
    for name in path {
        folder = subfolder(&folder, name).await?;
    }
    Ok(folder)
}

/// The folder `name` in `folder`, made if it is not there.
///
/// # Errors
/// What the browser says.
pub(crate) async fn subfolder(
    folder: &FileSystemDirectoryHandle,
    name: &str,
) -> Result<FileSystemDirectoryHandle, JsValue> {
    let options = FileSystemGetDirectoryOptions::new();
    options.set_create(true);
    let promise = folder.get_directory_handle_with_options(name, &options);
    JsFuture::from(promise).await.map(JsCast::unchecked_into)
}

/// What lies in a folder.
///
/// # Errors
/// What the browser says.
pub(crate) async fn names(folder: &FileSystemDirectoryHandle) -> Result<Vec<String>, JsValue> {
    let keys: AsyncIterator = folder.keys().unchecked_into();
    let mut names = Vec::new();
    loop {
        let next = js::settle(keys.next().map(JsValue::from)).await?;
        if Reflect::get(&next, &"done".into())?.is_truthy() {
            return Ok(names);
        }
        names.extend(Reflect::get(&next, &"value".into())?.as_string());
    }
}

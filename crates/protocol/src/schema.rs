//! TypeScript and JSON Schema of the wire types, generated from the Rust ones.

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use ts_rs::{Config, TS};

/// Calls `$visit!(T)` for every type that goes over the wire.
macro_rules! for_every_type {
    ($visit:ident) => {
        use crate::*;
        $visit!(
            JsonRpc,
            Id,
            Request,
            Response,
            ResponseOutcome,
            Notification,
            RuntimeFrame,
            ErrorKind,
            ErrorData,
            RpcError,
            Role,
            Message,
            RequestMessage,
            StopStrings,
            HandleChatParams,
            ChatPhase,
            ChatProgress,
            ChatDelta,
            ReplyMessage,
            HandleChatResult,
            ChatMeta,
            ChatTarget,
            Route,
            RouteFallback,
            LaneKind,
            Lane,
            Usage,
            Timings,
            FinishReason,
            SessionMeta,
            ModelParts,
            ModelInfo,
            ModelsListResult,
            ModelsImportParams,
            ModelsImportResult,
            ModelParams,
            ModelsRemoveResult,
            KvType,
            ModelsLoadParams,
            MemoryEstimate,
            ModelsLoadResult,
            ModelsUnloadResult,
            ProgressPhase,
            Progress,
            HostInfo,
            HelloParams,
            SkippedBuild,
            BuildInfo,
            StorageKind,
            StorageInfo,
            HelloResult,
            CancelParams,
            DiedParams,
            DecoderKind,
            LoadedModel,
            MemoryUsage,
            StatusResult,
            StorageEstimateResult,
            ChatsState,
            ChatsInfo,
            StorageChanged,
            StoragePersistResult,
            StorageTakeOverResult,
            SessionKind,
            TitleKind,
            SessionInfo,
            TurnState,
            SessionMessage,
            SessionTurn,
            TurnTelemetry,
            SessionsListParams,
            SessionsListResult,
            SessionsGetParams,
            SessionsGetResult,
            SessionsRenameParams,
            SessionResult,
            SessionsDeleteParams,
            SessionsDeleteResult,
            SessionsMergeParams,
            SessionsArchiveParams,
            SessionsArchiveResult,
            SessionsSearchParams,
            Snippet,
            SearchHit,
            SessionsSearchResult,
            SessionsExportParams,
            ExportedFile,
            SessionsImportParams,
            ImportProblemKind,
            ImportProblem,
            SessionsImportResult,
            UserInfo,
            UsersListResult,
            UsersSetParams,
            UsersSetResult,
            PersonaInfo,
            PersonaGetParams,
            PersonaResult,
            PersonaSetParams,
            PersonaResetParams,
            Settings,
            ConfigSetParams,
            ConfigResult,
            CommandInfo,
            CommandsListResult,
            CommandParams,
            CommandEffect,
            CommandResult,
            TelemetrySummaryParams,
            ModelTelemetry,
            FinishCount,
            TelemetrySummaryResult,
            SelfTestCheck,
            SelfTestResult
        );
    };
}

/// Method name, params type and result type, as TypeScript names.
const METHODS: [(&str, &str, &str); 32] = [
    (crate::method::HELLO, "HelloParams", "HelloResult"),
    (
        crate::method::HANDLE_CHAT,
        "HandleChatParams",
        "HandleChatResult",
    ),
    (
        crate::method::MODELS_LIST,
        "Record<string, never>",
        "ModelsListResult",
    ),
    (
        crate::method::MODELS_IMPORT,
        "ModelsImportParams",
        "ModelsImportResult",
    ),
    (
        crate::method::MODELS_REMOVE,
        "ModelParams",
        "ModelsRemoveResult",
    ),
    (
        crate::method::MODELS_LOAD,
        "ModelsLoadParams",
        "ModelsLoadResult",
    ),
    (
        crate::method::MODELS_UNLOAD,
        "ModelParams",
        "ModelsUnloadResult",
    ),
    (
        crate::method::STATUS,
        "Record<string, never>",
        "StatusResult",
    ),
    (
        crate::method::STORAGE_ESTIMATE,
        "Record<string, never>",
        "StorageEstimateResult",
    ),
    (
        crate::method::SELF_TEST,
        "Record<string, never>",
        "SelfTestResult",
    ),
    (
        crate::method::SESSIONS_LIST,
        "SessionsListParams",
        "SessionsListResult",
    ),
    (
        crate::method::SESSIONS_GET,
        "SessionsGetParams",
        "SessionsGetResult",
    ),
    (
        crate::method::SESSIONS_RENAME,
        "SessionsRenameParams",
        "SessionResult",
    ),
    (
        crate::method::SESSIONS_DELETE,
        "SessionsDeleteParams",
        "SessionsDeleteResult",
    ),
    (
        crate::method::SESSIONS_MERGE,
        "SessionsMergeParams",
        "SessionResult",
    ),
    (
        crate::method::SESSIONS_ARCHIVE,
        "SessionsArchiveParams",
        "SessionsArchiveResult",
    ),
    (
        crate::method::SESSIONS_SEARCH,
        "SessionsSearchParams",
        "SessionsSearchResult",
    ),
    (
        crate::method::SESSIONS_EXPORT,
        "SessionsExportParams",
        "ExportedFile",
    ),
    (
        crate::method::SESSIONS_IMPORT,
        "SessionsImportParams",
        "SessionsImportResult",
    ),
    (
        crate::method::USERS_LIST,
        "Record<string, never>",
        "UsersListResult",
    ),
    (crate::method::USERS_SET, "UsersSetParams", "UsersSetResult"),
    (
        crate::method::PERSONA_GET,
        "PersonaGetParams",
        "PersonaResult",
    ),
    (
        crate::method::PERSONA_SET,
        "PersonaSetParams",
        "PersonaResult",
    ),
    (
        crate::method::PERSONA_RESET,
        "PersonaResetParams",
        "PersonaResult",
    ),
    (
        crate::method::CONFIG_GET,
        "Record<string, never>",
        "ConfigResult",
    ),
    (crate::method::CONFIG_SET, "ConfigSetParams", "ConfigResult"),
    (crate::method::COMMAND, "CommandParams", "CommandResult"),
    (
        crate::method::COMMANDS_LIST,
        "Record<string, never>",
        "CommandsListResult",
    ),
    (
        crate::method::TELEMETRY_SUMMARY,
        "TelemetrySummaryParams",
        "TelemetrySummaryResult",
    ),
    (
        crate::method::STORAGE_PERSIST,
        "Record<string, never>",
        "StoragePersistResult",
    ),
    (
        crate::method::STORAGE_TAKE_OVER,
        "Record<string, never>",
        "StorageTakeOverResult",
    ),
    (crate::method::CANCEL, "CancelParams", "never"),
];

/// Notifications from the runtime and their params, as TypeScript names.
const NOTIFICATIONS: [(&str, &str); 5] = [
    (crate::method::CHAT_DELTA, "ChatDelta"),
    (crate::method::CHAT_PROGRESS, "ChatProgress"),
    (crate::method::PROGRESS, "Progress"),
    (crate::method::STORAGE_CHANGED, "StorageChanged"),
    (crate::method::DIED, "DiedParams"),
];

/// The TypeScript module with every wire type.
pub fn typescript() -> String {
    // JSON has one kind of number; counts and sizes stay far below 2^53.
    let config = Config::new().with_large_int("number");
    let mut text = String::from(
        "// Generated from crates/protocol by `cargo xtask codegen`. Do not edit.\n\n",
    );
    text.push_str(&format!(
        "export const PROTOCOL_VERSIONS: [number, number] = [{}, {}];\n",
        crate::PROTOCOL_VERSIONS[0],
        crate::PROTOCOL_VERSIONS[1]
    ));
    macro_rules! write_types {
        ($($name:ident),* $(,)?) => {$(
            text.push('\n');
            if let Some(docs) = <$name as TS>::docs() {
                text.push_str(docs.trim_end());
                text.push('\n');
            }
            text.push_str("export ");
            text.push_str(&<$name as TS>::decl(&config));
            text.push('\n');
        )*};
    }
    for_every_type!(write_types);
    text.push_str(
        "\n/** Every method: what it takes and what it gives. */\nexport interface Methods {\n",
    );
    for (method, params, result) in METHODS {
        text.push_str(&format!(
            "  {method:?}: {{ params: {params}; result: {result} }};\n"
        ));
    }
    text.push_str(
        "}\n\n/** Every notification from the runtime. */\nexport interface Notifications {\n",
    );
    for (method, params) in NOTIFICATIONS {
        text.push_str(&format!("  {method:?}: {params};\n"));
    }
    text.push_str("}\n");
    text
}

/// One JSON Schema document (draft 2020-12) with every wire type under `$defs`.
pub fn json_schema() -> String {
    let mut generator: SchemaGenerator = SchemaSettings::draft2020_12().into_generator();
    macro_rules! register {
        ($($name:ident),* $(,)?) => {$( let _ = generator.subschema_for::<$name>(); )*};
    }
    for_every_type!(register);
    let definitions: Map<String, Value> = generator.take_definitions(true);
    let methods: Map<String, Value> = METHODS
        .iter()
        .map(|(method, params, result)| {
            let entry = json!({ "params": type_ref(params), "result": type_ref(result) });
            ((*method).to_owned(), entry)
        })
        .collect();
    let notifications: Map<String, Value> = NOTIFICATIONS
        .iter()
        .map(|(method, params)| ((*method).to_owned(), type_ref(params)))
        .collect();
    let document = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Noxics runtime protocol, version 1",
        "$comment": "Generated from crates/protocol by `cargo xtask codegen`. Do not edit.",
        "methods": methods,
        "notifications": notifications,
        "$defs": definitions,
    });
    let mut text = format!("{document:#}");
    text.push('\n');
    text
}

fn type_ref(name: &str) -> Value {
    match name {
        "never" => json!(false),
        name if name.starts_with("Record<") => json!({ "type": "object" }),
        name => json!({ "$ref": format!("#/$defs/{name}") }),
    }
}

/// Every type must have a definition, or a `$ref` would point nowhere.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_in_the_schema_resolves() {
        let document: Value = serde_json::from_str(&json_schema()).unwrap();
        let definitions = document["$defs"].as_object().unwrap();
        let mut open = vec![&document];
        let mut n_checked = 0;
        while let Some(value) = open.pop() {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(target)) = map.get("$ref") {
                        let name = target.strip_prefix("#/$defs/").unwrap();
                        assert!(definitions.contains_key(name), "{name} has no definition");
                        n_checked += 1;
                    }
                    open.extend(map.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
        assert!(n_checked > 20);
    }

    #[test]
    fn typescript_names_every_method() {
        let text = typescript();
        for (method, _, _) in METHODS {
            assert!(text.contains(&format!("{method:?}: {{")), "{method}");
        }
    }
}

//! Prints what is generated from the wire types: `codegen typescript|json-schema`.

fn main() {
    let text = match std::env::args().nth(1).as_deref() {
        Some("typescript") => nox_protocol::schema::typescript(),
        Some("json-schema") => nox_protocol::schema::json_schema(),
        other => {
            eprintln!("expected `typescript` or `json-schema`, got {other:?}");
            std::process::exit(2);
        }
    };
    print!("{text}");
}

//! Names of tables, equal in an archive and in the catalog.

/// `schema.table`, with each part quoted as an SQL identifier if it would be ambiguous otherwise.
pub fn qualified(schema: Option<&str>, name: &str) -> String {
    match schema {
        Some(schema) if !schema.is_empty() => format!("{}.{}", part(schema), part(name)),
        _ => part(name),
    }
}

fn part(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || c == '-';
    if !name.is_empty() && name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_unambiguous() {
        assert_eq!(qualified(Some("public"), "users"), "public.users");
        assert_eq!(qualified(Some("a.b"), "c"), "\"a.b\".c");
        assert_eq!(qualified(Some("a"), "b.c"), "a.\"b.c\"");
        assert_eq!(qualified(Some("a"), "q\"x"), "a.\"q\"\"x\"");
    }
}

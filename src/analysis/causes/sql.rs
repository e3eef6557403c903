//! The kind of a statement, from the first words of its SQL text.
//!
//! Comments and letter case do not matter. If a text is unknown, the callers conclude nothing.
#![forbid(unsafe_code)]

/// The text without its leading blanks and comments.
fn start(text: &str) -> &str {
    let mut text = text.trim_start();
    loop {
        if let Some(rest) = text.strip_prefix("--") {
            text = rest.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
        } else if let Some(rest) = text.strip_prefix("/*") {
            text = rest.split_once("*/").map_or("", |(_, rest)| rest).trim_start();
        } else {
            return text;
        }
    }
}

/// The words of the text, in lower case.
fn words(text: &str) -> impl Iterator<Item = String> {
    let separate = |c: char| !(c.is_alphanumeric() || c == '_');
    start(text).split(separate).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// The pragma that this statement sets, reads or runs, in lower case and without its schema.
fn pragma(text: &str) -> Option<String> {
    let mut first = words(text);
    if first.next()? != "pragma" {
        return None;
    }
    let name = start(text).get(6..)?.split(['=', '(', ';']).next()?.trim();
    Some(name.rsplit('.').next()?.trim().trim_matches(['"', '`', '[', ']']).to_lowercase())
}

/// Whether it is `PRAGMA journal_mode`.
pub fn is_journal_mode(text: &str) -> bool {
    pragma(text).is_some_and(|name| name == "journal_mode")
}

/// Whether it is `PRAGMA wal_checkpoint`.
pub fn is_checkpoint(text: &str) -> bool {
    pragma(text).is_some_and(|name| name == "wal_checkpoint")
}

/// Whether it is `BEGIN` or `SAVEPOINT`: the transaction outlives the statement.
pub fn is_begin(text: &str) -> bool {
    words(text).next().is_some_and(|word| matches!(&*word, "begin" | "savepoint"))
}

/// Whether it is `COMMIT`, `END`, `ROLLBACK` or `RELEASE`: it ends an explicit transaction.
pub fn is_end(text: &str) -> bool {
    words(text).next().is_some_and(|word| matches!(&*word, "commit" | "end" | "rollback" | "release"))
}

/// Whether it gives rows: a query, or a change with a `RETURNING` clause. It goes on until its last row is read.
pub fn has_rows(text: &str) -> bool {
    let first = words(text).next();
    match first.as_deref() {
        Some("select" | "values" | "explain") => true,
        Some("with") => !words(text).any(|word| matches!(&*word, "insert" | "update" | "delete")) || has_returning(text),
        Some("insert" | "update" | "delete" | "replace") => has_returning(text),
        _ => false,
    }
}

/// Whether it changes rows or the schema.
pub fn changes(text: &str) -> bool {
    let first = words(text).next();
    matches!(
        first.as_deref(),
        Some("insert" | "update" | "delete" | "replace" | "with" | "create" | "drop" | "alter" | "vacuum" | "reindex" | "analyze")
    )
}

fn has_returning(text: &str) -> bool {
    words(text).any(|word| word == "returning")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_statements_are() {
        for text in
            ["PRAGMA journal_mode=WAL", "pragma main.Journal_Mode = delete;", "/* a */ -- b\n PRAGMA \"main\".journal_mode(off)"]
        {
            assert!(is_journal_mode(text), "{text}");
        }
        assert!(!is_journal_mode("PRAGMA journal_size_limit=1") && !is_journal_mode("SELECT 'PRAGMA journal_mode'"));
        assert!(is_checkpoint("PRAGMA wal_checkpoint(TRUNCATE)") && is_checkpoint("pragma aux.wal_checkpoint"));
        assert!(is_begin(" BEGIN IMMEDIATE") && is_begin("SAVEPOINT s") && !is_begin("SELECT"));
        assert!(is_end("COMMIT") && is_end("/*x*/end transaction") && is_end("RELEASE s") && !is_end("BEGIN"));
        assert!(has_rows("INSERT INTO t VALUES(1) RETURNING id") && !has_rows("INSERT INTO t VALUES(1)") && !has_rows("COMMIT"));
        assert!(
            has_rows("SELECT 1") && has_rows("WITH a AS (SELECT 1) SELECT 2") && !has_rows("WITH a AS (SELECT 1) DELETE FROM t")
        );
        for text in ["", "--", "/*", "pragma", "PRAGMA é", "😀"] {
            assert!(!is_journal_mode(text) && !is_begin(text) && !is_end(text), "{text}");
        }
    }
}

//! Which VFS a URI names: `file:app.db?vfs=unix-excl`.
//!
//! In comes a database's name, as a program hands it to `sqlite3_open`; out goes the value of its last `vfs` parameter. By the rules of
//! `sqlite3ParseUri` (main.c; <https://sqlite.org/uri.html>). Whether SQLite will take the name for a URI at all cannot be known here
//! (a global setting decides, too), and need not be: who asks only prepares for it. Called by `preload`.
#![forbid(unsafe_code)]

/// The decoded value of the last `vfs` parameter.
pub fn vfs(name: &[u8]) -> Option<Vec<u8>> {
    let rest = name.strip_prefix(b"file:")?;
    let rest = rest.split(|&byte| byte == b'#').next()?;
    let at = rest.iter().position(|&byte| byte == b'?')?;
    let pairs = rest.get(at + 1..)?.split(|&byte| byte == b'&');
    let value = |pair: &[u8]| {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        (decoded(pair.get(..at)?) == b"vfs").then(|| decoded(pair.get(at + 1..).unwrap_or_default()))
    };
    pairs.filter_map(value).next_back()
}

/// `%HH` as the byte it stands for; `%00` ends what it is in, as in SQLite.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digit = |byte: Option<u8>| byte.and_then(|byte| (byte as char).to_digit(16));
        let byte = match (byte, digit(ahead.next()), digit(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                bytes = ahead;
                (high << 4 | low) as u8
            }
            _ => byte,
        };
        if byte == 0 {
            break;
        }
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::vfs;

    #[test]
    fn the_last_vfs_parameter_counts() {
        let of = |name: &str| vfs(name.as_bytes()).map(|name| String::from_utf8(name).unwrap());
        for (name, expected) in [
            ("app.db?vfs=unix-excl", None),
            ("file:app.db", None),
            ("file:app.db?mode=rw", None),
            ("file:app.db?vfs=unix-excl", Some("unix-excl")),
            ("file:///tmp/app.db?mode=rw&vfs=unix-none&cache=shared", Some("unix-none")),
            ("file:app.db?vfs=one&vfs=two", Some("two")),
            ("file:app.db?vfs=one#?vfs=two", Some("one")),
            ("file:app#.db?vfs=two", None),
            ("file:app.db?%76fs=unix%2dexcl", Some("unix-excl")),
            ("file:app.db?vfs=un%zzix", Some("un%zzix")),
            ("file:app.db?vfs=unix%00-excl", Some("unix")),
            ("file:app.db?vfs", None),
            ("file:app.db?vfs=", Some("")),
            ("file:app.db?xvfs=a&vfsx=b", None),
            ("file:app.db?vfs=a%", Some("a%")),
        ] {
            assert_eq!(of(name).as_deref(), expected, "{name}");
        }
    }
}

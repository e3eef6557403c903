//! Shell quoting, for command lines that a user can type.
#![forbid(unsafe_code)]

use std::ffi::OsStr;

/// A word, quoted if the shell needs that.
pub(in crate::cli) fn quoted(word: &OsStr) -> String {
    let text = word.display().to_string();
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+,@%=:".contains(c));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A command line of quoted words.
pub(in crate::cli) fn line<'w>(words: impl IntoIterator<Item = &'w OsStr>) -> String {
    words.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_it_back() {
        let words = ["a b", "it's", "", "$HOME", "plain-1.py"];
        assert_eq!(line(words.map(OsStr::new)), r"'a b' 'it'\''s' '' '$HOME' plain-1.py");
    }
}

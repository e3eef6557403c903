//! `locktrace open`: the place of the page, and the program that opens it.

use crate::common::contended;
use crate::{between, good, locktrace, page};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

#[test]
fn open_shows_the_page() {
    let dir = tempfile::tempdir().unwrap();
    contended(dir.path());
    let temporary = dir.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let trace = dir.path().to_str().unwrap();
    let open = || {
        let mut command = locktrace(&["open", trace]);
        command.env("TMPDIR", &temporary);
        command
    };
    // No display: only the place is said, and nobody else can read it.
    let said = good(open().output().unwrap());
    let path = PathBuf::from(between(&said, "The page is in ", ";"));
    assert!(said.contains("there is no display") && path.starts_with(&temporary), "{said}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&path).unwrap(), page(dir.path()));

    // The first browser that starts gets it; the one that is not there is passed over.
    let (browser, seen) = (dir.path().join("browser"), dir.path().join("seen"));
    let seen_part = dir.path().join("seen.part");
    let script = format!("#!/bin/sh\nprintf %s \"$*\" > '{0}' && mv '{0}' '{1}'\n", seen_part.display(), seen.display());
    fs::write(&browser, script).unwrap();
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).unwrap();
    let list = format!("/no/such/browser:{} --new --app=%s", browser.display());
    let said = good(open().env("BROWSER", list).output().unwrap());
    assert!(said.contains(&format!("; {} opens it", browser.display())), "{said}");
    // It is not waited for: it is here soon.
    let found = (0..500).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::read_to_string(&seen).ok()
    });
    assert_eq!(found.unwrap(), format!("--new --app={}", between(&said, "The page is in ", ";")));

    // None starts.
    let said = good(open().env("BROWSER", "/no/such/browser").env("PATH", "/nowhere").output().unwrap());
    assert!(said.contains("open it in a browser (/no/such/browser: "), "{said}");
}

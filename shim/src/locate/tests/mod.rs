//! The search over images made of bytes, with every kind of damage.
#![allow(clippy::undocumented_unsafe_blocks)] // tests

#[cfg(target_arch = "x86_64")]
mod elf_files;
mod file;
mod reads;
mod synthetic;
#[cfg(target_arch = "x86_64")]
mod table;

use super::image::Image;
use super::shape::{ARRAY, Refused, SIZE, search};
use synthetic::{BIAS, Bytes, CODE, DATA, FILLED, HEADERS, Made};

/// What a case changes.
type Change<'c> = &'c dyn Fn(&mut Made);

/// What is found in a module, by place.
fn found(made: &Bytes) -> Vec<(usize, Result<(), Refused>)> {
    let mut found = Vec::new();
    if let Some(image) = Image::new(made, BIAS, BIAS + HEADERS, made.headers) {
        search(&image, &mut |at, verdict| found.push((at, verdict)));
    }
    found
}

#[test]
fn the_four_are_found_wherever_they_stand() {
    for at in (DATA..DATA + FILLED - ARRAY + 8).step_by(8) {
        assert_eq!(found(&Made::new(at).bytes), [(BIAS + at, Ok(()))], "at {at:#x}");
    }
}

#[test]
fn past_the_end_of_the_file_part_nothing_is_read() {
    let mut made = Made::new(DATA + FILLED - ARRAY);
    // One word less of it comes from the file.
    made.header(2, 32, FILLED as u64 - 8);
    assert_eq!(found(&made.bytes), []);
}

#[test]
fn a_module_cut_anywhere_has_nothing_or_what_is_left_of_it() {
    let whole = Made::new(DATA + 4096).bytes;
    for len in (0..whole.bytes.len()).step_by(40) {
        let mut cut = whole.clone();
        cut.bytes.truncate(len);
        let found = found(&cut).len();
        assert!(found == 0 || len >= DATA + 4096 + ARRAY, "{len:#x} bytes");
        // What is read together can be read by then.
        assert!(found == 1 || len < DATA + 3 * 4096, "{len:#x} bytes");
    }
}

#[test]
fn what_the_loader_makes_read_only_is_not_looked_at() {
    let mut made = Made::new(DATA + 4096);
    made.add(0x6474_e552, 4, DATA, 4096);
    assert_eq!(found(&made.bytes).len(), 1, "RELRO before it");
    made.add(0x6474_e552, 4, DATA, 8192);
    assert_eq!(found(&made.bytes), []);
}

#[test]
fn each_reason_to_leave_it_alone() {
    let at = DATA + 64;
    let cases: [(Refused, Change<'_>); 13] = [
        (Refused::Foreign, &|made| made.all(40, 0x7777_0000_0000)),
        (Refused::Foreign, &|made| made.set(at + SIZE + 112, 0x7777_0000_0000)),
        (Refused::Foreign, &|made| made.all(40, (BIAS + DATA) as u64)),
        (Refused::Mismatch, &|made| made.set(at + SIZE + 40, (BIAS + CODE + 32) as u64)),
        (Refused::Mismatch, &|made| made.all(32, (BIAS + at + 24) as u64)),
        (Refused::Unreadable, &|made| made.all(32, 0x7777_0000_0000)),
        (Refused::NotWritable, &|made| made.bytes.sealed = true),
        // As a module is in the file, and when the loader has done a part of it.
        (Refused::NotRelocated, &|made| made.all(24, 0x2000)),
        (Refused::NotRelocated, &|made| made.all(24, 0)),
        (Refused::NotRelocated, &|made| made.set(at + 3 * SIZE + 24, 0)),
        (Refused::NotRelocated, &|made| made.set(at + 3 * SIZE + 40, 0x1000)),
        (Refused::NotRelocated, &|made| made.set(at + 3 * SIZE + 72, 0)),
        (Refused::NotRelocated, &|made| made.set(at + 3 * SIZE + 32, 0)),
    ];
    for (index, (why, change)) in cases.into_iter().enumerate() {
        let mut made = Made::new(at);
        change(&mut made);
        assert_eq!(found(&made.bytes), [(BIAS + at, Err(why))], "case {index}");
    }
}

#[test]
fn functions_that_a_build_leaves_out_are_not_missed() {
    let mut made = Made::new(DATA);
    // xDlOpen to xDlClose, xCurrentTime.
    [72, 80, 88, 96, 120].into_iter().for_each(|field| made.all(field, 0));
    assert_eq!(found(&made.bytes), [(BIAS + DATA, Ok(()))]);
}

#[test]
fn what_is_no_sqlite_is_not_reported() {
    let at = DATA + 64;
    let cases: [Change<'_>; 6] = [
        // Three objects, another size, another version, another name, a name elsewhere, no room for a file object.
        &|made| made.set(at + 3 * SIZE, 0),
        &|made| made.set(at + SIZE, 3 | 136 << 32),
        &|made| made.set(at + SIZE, 2 | 120 << 32),
        &|made| made.name(1, b"unix-nine\0"),
        &|made| made.set(at + SIZE + 24, 0x7777_0000_0000),
        &|made| (0..4).for_each(|object| made.set(at + SIZE * object, 3)),
    ];
    for (index, change) in cases.into_iter().enumerate() {
        let mut made = Made::new(at);
        change(&mut made);
        assert_eq!(found(&made.bytes), [], "case {index}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn control_flow_integrity_is_seen_in_the_code() {
    let jump = [0xe9, 1, 2, 3, 4, 0xcc, 0xcc, 0xcc];
    let guarded = [0xf3, 0x0f, 0x1e, 0xfa, 0xe9, 1, 2, 3, 4, 0xcc];
    let mut hashed = [0x90; 32];
    hashed[11..16].copy_from_slice(&[0xb8, 1, 2, 3, 4]);
    // `xOpen` is the first function, the one that `pAppData` leads to the last.
    for (place, code) in [(0, &jump[..]), (0, &guarded), (16 * 16, &jump), (16, &jump)] {
        let mut made = Made::new(DATA);
        made.put(CODE + 16 + place, code);
        assert_eq!(found(&made.bytes), [(BIAS + DATA, Err(Refused::Cfi))], "{code:x?} at {place}");
    }
    let mut made = Made::new(DATA);
    made.put(CODE, &hashed);
    assert_eq!(found(&made.bytes), [(BIAS + DATA, Err(Refused::Cfi))]);
}

#[test]
fn hostile_headers_end_the_search_and_nothing_else() {
    for (offset, value) in
        [(8, u64::MAX), (16, u64::MAX), (16, u64::MAX - 4096), (32, u64::MAX), (40, u64::MAX), (40, 0), (16, 1 << 47)]
    {
        for header in 0..3 {
            let mut made = Made::new(DATA);
            made.header(header, offset, value);
            assert!(found(&made.bytes).len() <= 1, "{header} {offset} {value:#x}");
        }
    }
    // The same segment many times over, and more headers than there are.
    let mut made = Made::new(DATA);
    for _ in 0..30 {
        made.add(1, 6, DATA, FILLED);
    }
    assert!(!found(&made.bytes).is_empty());
    for headers in [0, 1, 127, 128, 65_535, usize::MAX] {
        made.bytes.headers = headers;
        found(&made.bytes);
    }
    let image = |at| Image::new(&made.bytes, BIAS, at, 3).is_some();
    assert!(!image(0) && !image(usize::MAX - 8) && !image(BIAS + made.bytes.bytes.len() - 8));
}

#[test]
fn bits_may_flip_anywhere() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let whole = Made::new(DATA + 64).bytes;
    for _ in 0..3000 {
        let mut broken = whole.clone();
        for _ in 0..1 + random(4) {
            // Where it matters: headers, code, texts, the objects.
            let place = [random(600), CODE + random(600), DATA + random(1024), random(broken.bytes.len())][random(4)];
            broken.bytes[place] ^= 1 << random(8);
        }
        assert!(found(&broken).len() <= 1);
        if let Some(image) = Image::new(&broken, BIAS, BIAS + HEADERS, broken.headers) {
            image.build_id();
            super::table::search(&image, &mut || true);
            if let Some(symbols) = super::symbols::Symbols::new(&image) {
                symbols.find(&image, b"sqlite3_sql\0");
            }
        }
    }
}

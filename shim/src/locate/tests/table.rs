//! SQLite's table for extensions, made of bytes.

use super::synthetic::{BIAS, CODE, DATA, FILLED, Made};
use crate::api::slot;
use crate::locate::code::{Returned, constant};
use crate::locate::image::Image;
use crate::locate::table::{Search, search};

/// Where the functions of the table are.
const NUMBER: usize = CODE + 0x400;
const TEXT: usize = CODE + 0x440;
const SOURCE: usize = CODE + 0x480;
const OTHER: usize = CODE + 0x4c0;
/// What they return.
const VERSION: usize = 0x900;
const DATE: usize = 0x920;

/// `mov eax, 3054001; ret`.
const VERSION_NUMBER: [u8; 6] = [0xb8, 0xb1, 0x99, 0x2e, 0, 0xc3];

/// `lea rax, [rip + …]; ret`, at a place, of an address.
fn lea(made: &mut Made, at: usize, address: usize) {
    made.put(at, &[0x48, 0x8d, 0x05]);
    made.put(at + 3, &(address.wrapping_sub(at + 7) as u32).to_ne_bytes());
    made.put(at + 7, &[0xc3]);
}

fn with_table(at: usize) -> Made {
    let mut made = Made::new(DATA);
    assert_eq!(u32::from_ne_bytes(VERSION_NUMBER[1..5].try_into().unwrap()), 3_054_001);
    made.put(NUMBER, &VERSION_NUMBER);
    lea(&mut made, TEXT, VERSION);
    lea(&mut made, SOURCE, DATE);
    made.put(VERSION, b"3.54.1\0");
    made.put(DATE, b"2026-10-16 14:45:20\0");
    for slot in 0..280 {
        // Two options left something out.
        let function = match slot {
            slot::LIBVERSION_NUMBER => BIAS + NUMBER,
            slot::LIBVERSION => BIAS + TEXT,
            slot::SOURCEID => BIAS + SOURCE,
            1 | 23..26 | 63 => 0,
            _ => BIAS + OTHER,
        };
        made.set(at + 8 * slot, function as u64);
    }
    made
}

fn found(made: &Made) -> Search {
    search(&Image::new(&made.bytes, BIAS, BIAS + super::HEADERS, made.bytes.headers).unwrap(), &mut || true)
}

#[test]
fn it_is_found_wherever_it_stands() {
    for at in (DATA + 0x400..DATA + 0x400 + 8 * 200).step_by(8) {
        assert_eq!(found(&with_table(at)), Search::Found(BIAS + at), "at {at:#x}");
    }
    let last = DATA + FILLED - 8 * 280;
    assert_eq!(found(&with_table(last)), Search::Found(BIAS + last));
}

#[test]
fn what_its_functions_return_decides() {
    let at = DATA + 0x1000;
    let cases: [(&str, super::Change<'_>); 6] = [
        ("another version as text", &|made| made.put(VERSION, b"3.54.0\0")),
        ("longer text", &|made| made.put(VERSION, b"3.54.10\0")),
        ("no source id", &|made| made.put(DATE, b"1999-")),
        ("a version too old", &|made| made.put(NUMBER + 1, &3_016_002_u32.to_ne_bytes())),
        ("no return", &|made| made.put(NUMBER + 5, &[0x90])),
        ("a slot that is never empty", &|made| made.set(at + 8 * slot::SQL, 0)),
    ];
    for (what, change) in cases {
        let mut made = with_table(at);
        change(&mut made);
        assert_eq!(found(&made), Search::Nothing, "{what}");
    }
    let mut two = with_table(at);
    let copy = two.bytes.bytes[at..at + 8 * 280].to_vec();
    two.put(at + 0x1000, &copy);
    assert_eq!(found(&two), Search::Several);
    let (made, mut pages) = (with_table(at), 1);
    let image = Image::new(&made.bytes, BIAS, BIAS + super::HEADERS, 3).unwrap();
    let stop = &mut || std::mem::replace(&mut pages, 0) > 0;
    assert_eq!(search(&image, stop), Search::OutOfTime);
}

#[test]
fn functions_that_return_a_constant() {
    let cases: [(&[u8], Option<Returned>); 9] = [
        (&[0xb8, 1, 2, 0, 0, 0xc3], Some(Returned::Number(0x201))),
        (&[0xf3, 0x0f, 0x1e, 0xfa, 0xb8, 1, 2, 0, 0, 0xc3], Some(Returned::Number(0x201))),
        (&[0x55, 0x48, 0x89, 0xe5, 0xb8, 1, 2, 0, 0, 0x5d, 0xc3], Some(Returned::Number(0x201))),
        (&[0x48, 0xc7, 0xc0, 1, 2, 0, 0, 0xc3], Some(Returned::Number(0x201))),
        (&[0x48, 0x8d, 0x05, 0xf9, 0, 0, 0, 0xc3], Some(Returned::Address(BIAS + NUMBER + 0x100))),
        (
            &[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x8d, 0x05, 0xf1, 0xff, 0xff, 0xff, 0x5d, 0xc3],
            Some(Returned::Address(BIAS + NUMBER)),
        ),
        (&[0x48, 0x8b, 0x05, 0xf9, 0, 0, 0, 0xc3], Some(Returned::Indirect(BIAS + NUMBER + 0x100))),
        (&[0x55, 0x48, 0x89, 0xe5, 0xb8, 1, 2, 0, 0, 0xc3], None),
        (&[0xb8, 1, 2, 0, 0, 0x5d, 0xc3], None),
    ];
    for (code, returned) in cases {
        let mut made = Made::new(DATA);
        made.put(NUMBER, code);
        let image = Image::new(&made.bytes, BIAS, BIAS + super::HEADERS, 3).unwrap();
        assert_eq!(constant(&image, BIAS + NUMBER), returned, "{code:x?}");
        assert_eq!(constant(&image, BIAS + CODE + 0x1000 - 4), None, "at the end of the code");
        assert_eq!(constant(&image, BIAS + DATA), None, "what is no constant");
    }
}

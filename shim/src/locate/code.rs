//! The few instructions that are decoded: functions that return a constant, and the jumps of control-flow integrity.
//!
//! Constants are decoded on x86-64 only. On other processors no constant is known.

use super::image::Image;
use super::memory::Memory;

/// The longest code that is decoded, in bytes.
#[cfg(target_arch = "x86_64")]
const BYTES: usize = 24;

/// Code at an address. A function at the end of its segment has fewer bytes.
#[cfg(target_arch = "x86_64")]
fn read<M: Memory>(image: &Image<M>, at: usize) -> Option<([u8; BYTES], usize)> {
    for len in [BYTES, 16, 8] {
        let mut bytes = [0; BYTES];
        if image.copy(at, bytes.get_mut(..len)?) {
            return Some((bytes, len));
        }
    }
    None
}

/// Whether the code at a function's address shows that callers check it; `None` where it cannot be read.
///
/// - With Clang's `cfi-icall`, callers compare with the addresses of a jump table. A function's address is then that of its entry: `jmp`,
///   padded with `int3` to 8 bytes, or with `endbr64` before it to 16. SQLite's own functions are no jumps.
/// - With Clang's `kcfi`, callers compare the four bytes before the function. They are the operand of a `mov eax` that is never executed.
#[cfg(target_arch = "x86_64")]
pub fn checked<M: Memory>(image: &Image<M>, function: usize) -> Option<bool> {
    let (bytes, _) = read(image, function)?;
    let code = bytes.strip_prefix(ENDBR64).unwrap_or(&bytes);
    if matches!(code, [0xe9 | 0xeb, ..] | [0xff, 0x25, ..]) {
        return Some(true);
    }
    let mut before = [0; 16];
    let start = function.checked_sub(before.len())?;
    let hashed = image.copy(start, &mut before) && matches!(before, [0x90, 0x90, .., 0x90, 0x90, 0xb8, _, _, _, _]);
    Some(hashed && function.is_multiple_of(16))
}

/// As on x86-64, where an entry is a `b`, perhaps with `bti c` before it.
#[cfg(target_arch = "aarch64")]
pub fn checked<M: Memory>(image: &Image<M>, function: usize) -> Option<bool> {
    use super::image::half;
    const BTI_C: u32 = 0xd503_245f;
    let mut bytes = [0; 8];
    if !image.copy(function, &mut bytes) {
        return None;
    }
    let [first, second] = [half(&bytes, 0)?, half(&bytes, 4)?];
    let code = if first == BTI_C { second } else { first };
    Some(code & 0xfc00_0000 == 0x1400_0000)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn checked<M: Memory>(image: &Image<M>, function: usize) -> Option<bool> {
    image.is_code(function).then_some(false)
}

#[cfg(target_arch = "x86_64")]
const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];

/// The value that a function returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Returned {
    /// A number, or an address in a program that is not position-independent.
    Number(u32),
    /// An address relative to the code.
    Address(usize),
    /// The address that is stored at this address.
    Indirect(usize),
}

/// The constant that a function returns which does nothing else.
#[cfg(target_arch = "x86_64")]
pub fn constant<M: Memory>(image: &Image<M>, function: usize) -> Option<Returned> {
    use super::image::half;
    const FRAME: &[u8] = &[0x55, 0x48, 0x89, 0xe5];
    const RET: u8 = 0xc3;
    const POP_RBP: u8 = 0x5d;

    let (bytes, len) = read(image, function)?;
    let mut code = bytes.get(..len)?;
    code = code.strip_prefix(ENDBR64).unwrap_or(code);
    // Without optimisation the function has a frame.
    let framed = code.starts_with(FRAME);
    if framed {
        code = code.strip_prefix(FRAME)?;
    }
    let rest = bytes.len().min(len).checked_sub(code.len())?;
    let (returned, size) = match code {
        [0xb8, ..] => (Returned::Number(half(code, 1)?), 5),
        // `mov rax, imm32`, where the compiler could not assume a low address.
        [0x48, 0xc7, 0xc0, ..] => (Returned::Number(half(code, 3)?), 7),
        [0x48, 0x8d, 0x05, ..] => (Returned::Address(relative(function, rest + 7, half(code, 3)?)?), 7),
        [0x48, 0x8b, 0x05, ..] => (Returned::Indirect(relative(function, rest + 7, half(code, 3)?)?), 7),
        _ => return None,
    };
    let end = code.get(size..)?;
    let end = if framed { end.strip_prefix(&[POP_RBP])? } else { end };
    (end.first() == Some(&RET)).then_some(returned)
}

#[cfg(not(target_arch = "x86_64"))]
pub fn constant<M: Memory>(_: &Image<M>, _: usize) -> Option<Returned> {
    None
}

/// The address in an instruction that ends `after` bytes into a function.
#[cfg(target_arch = "x86_64")]
fn relative(function: usize, after: usize, displacement: u32) -> Option<usize> {
    function.checked_add(after)?.checked_add_signed(displacement as i32 as isize)
}

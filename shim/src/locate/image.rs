//! A loaded module as its program headers describe it. Every number in them is checked.

use super::memory::Memory;
use std::ops::Range;

/// A module in the list of the dynamic loader. Valid while it is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// What is added to addresses in the file to get those in memory; 0 for a program that is not position-independent.
    pub bias: usize,
    /// Where the image begins: the lowest loadable segment.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The path as the loader knows it, empty for the program itself; the loader's own memory.
    pub name: *const std::ffi::c_char,
    /// The linker's hash of the contents, as far as 20 bytes; see [`Module::build_id`].
    pub id: [u8; 20],
    /// The number of bytes in [`Module::id`]; 0 = the linker left none.
    pub id_len: u8,
    /// The program headers in memory.
    pub headers: usize,
    /// How many there are.
    pub count: usize,
}

impl Module {
    /// Whether an address lies between its first and last segment.
    pub fn contains(&self, address: usize) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// The linker's hash of the contents, if it left one.
    pub fn build_id(&self) -> &[u8] {
        self.id.get(..usize::from(self.id_len)).unwrap_or(&[])
    }
}

/// One `PT_LOAD`, as far as it comes from the file.
#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    start: usize,
    /// The end of the part that the file holds.
    filled: usize,
    /// The end of the whole, with the part that begins as zeros.
    end: usize,
    flags: u32,
}

/// Executables have 2 to 6 loadable segments, some linkers' as many as 10.
const SEGMENTS: usize = 16;
/// More program headers than any linker writes.
const HEADERS: usize = 128;
/// Bytes of a program header.
pub const HEADER: usize = 56;

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const NOTE: u32 = 4;
const RELRO: u32 = 0x6474_e552;

const EXECUTE: u32 = 1;
const WRITE: u32 = 2;
const READ: u32 = 4;

/// A module's segments.
pub struct Image<'m, M: Memory> {
    /// Where its bytes are.
    pub memory: &'m M,
    /// What is added to addresses in the file.
    pub bias: usize,
    segments: [Segment; SEGMENTS],
    used: usize,
    /// The part that the loader makes read-only after relocating.
    relro: Range<usize>,
    /// The dynamic section.
    pub dynamic: Range<usize>,
    notes: [Range<usize>; 4],
}

impl<'m, M: Memory> Image<'m, M> {
    /// From program headers in memory; `None` where they cannot be read or describe nothing that is loaded.
    pub fn new(memory: &'m M, bias: usize, headers: usize, count: usize) -> Option<Image<'m, M>> {
        const NONE: Range<usize> = 0..0;
        let segments = [Segment::default(); SEGMENTS];
        let mut image = Image { memory, bias, segments, used: 0, relro: NONE, dynamic: NONE, notes: [NONE; 4] };
        let mut notes = 0;
        for index in 0..count.min(HEADERS) {
            let mut header = [0; HEADER];
            if !memory.copy(headers.checked_add(index * HEADER)?, &mut header) {
                return None;
            }
            let (kind, flags) = (half(&header, 0)?, half(&header, 4)?);
            let (address, filled, size) = (word(&header, 16)?, word(&header, 32)?, word(&header, 40)?);
            let start = bias.wrapping_add(address);
            // A part that wraps around the address space is ignored.
            let (Some(end), Some(filled)) = (start.checked_add(size), start.checked_add(filled.min(size))) else { continue };
            match kind {
                LOAD => {
                    if let Some(free) = image.segments.get_mut(image.used) {
                        *free = Segment { start, filled, end, flags };
                        image.used += 1;
                    }
                }
                DYNAMIC => image.dynamic = start..end,
                RELRO => image.relro = start..end,
                NOTE => {
                    if let Some(free) = image.notes.get_mut(notes) {
                        *free = start..end;
                        notes += 1;
                    }
                }
                _ => (),
            }
        }
        (image.used > 0).then_some(image)
    }

    fn segments(&self) -> &[Segment] {
        self.segments.get(..self.used).unwrap_or(&[])
    }

    /// From the first segment's begin to the last one's end.
    pub fn extent(&self) -> Range<usize> {
        let start = self.segments().iter().map(|segment| segment.start).min().unwrap_or(0);
        start..self.segments().iter().map(|segment| segment.end).max().unwrap_or(0)
    }

    /// Whether an address is in a loaded segment.
    pub fn contains(&self, address: usize) -> bool {
        self.segments().iter().any(|segment| (segment.start..segment.end).contains(&address))
    }

    /// Whether an address is in a segment with code.
    pub fn is_code(&self, address: usize) -> bool {
        let holds = |segment: &Segment| segment.flags & EXECUTE != 0 && (segment.start..segment.end).contains(&address);
        self.segments().iter().any(holds)
    }

    /// Bytes of the module; `false` where they are not all in one segment of it that is readable.
    pub fn copy(&self, at: usize, into: &mut [u8]) -> bool {
        let Some(end) = at.checked_add(into.len()) else { return false };
        let holds = |segment: &Segment| segment.flags & READ != 0 && segment.start <= at && end <= segment.end;
        self.segments().iter().any(holds) && self.memory.copy(at, into)
    }

    /// A machine word of the module.
    pub fn word(&self, at: usize) -> Option<u64> {
        self.contains(at).then(|| self.memory.word(at)).flatten()
    }

    /// Whether this text, which includes its NUL, is at an address of the module.
    pub fn is(&self, at: usize, text: &[u8]) -> bool {
        self.contains(at) && self.memory.is(at, text)
    }

    /// Parts of the data that stay writable: outside RELRO, and only as far as the file holds them, because zeros have no shape.
    pub fn writable(&self, visit: &mut dyn FnMut(Range<usize>)) {
        for segment in self.segments() {
            if segment.flags & (READ | WRITE) == READ | WRITE {
                let (from, to) = (self.relro.start.max(segment.start), self.relro.end.min(segment.filled));
                if from < to {
                    visit(segment.start..from);
                    visit(to..segment.filled);
                } else {
                    visit(segment.start..segment.filled);
                }
            }
        }
    }

    /// Parts that hold tables of code addresses: data that the loader relocates, in RELRO or outside. A program that is not
    /// position-independent is not relocated. It has its tables among its constants, and with an old linker beside its code.
    pub fn tables(&self, visit: &mut dyn FnMut(Range<usize>)) {
        for among in [WRITE, 0, EXECUTE] {
            for segment in self.segments() {
                let flags = segment.flags & (READ | WRITE | EXECUTE);
                if flags == READ | among && (among == WRITE || self.bias == 0) {
                    visit(segment.start..segment.filled);
                }
            }
        }
    }

    /// The linker's build id, as far as 20 bytes, and its length.
    pub fn build_id(&self) -> ([u8; 20], u8) {
        const BUILD_ID: u32 = 3;
        let mut id = [0; 20];
        for note in &self.notes {
            let mut at = note.start;
            // A program has few notes.
            for _ in 0..16 {
                let mut head = [0; 16];
                if at.checked_add(head.len()).is_none_or(|end| end > note.end) || !self.copy(at, &mut head) {
                    break;
                }
                let [Some(name), Some(size), Some(kind)] = [half(&head, 0), half(&head, 4), half(&head, 8)] else { break };
                let (name, size) = (padded(name), padded(size));
                if kind == BUILD_ID && head.ends_with(b"GNU\0") && name == 4 {
                    let len = (half(&head, 4).unwrap_or(0) as usize).min(id.len());
                    let got = at.checked_add(16).is_some_and(|at| id.get_mut(..len).is_some_and(|id| self.copy(at, id)));
                    return (id, if got { len as u8 } else { 0 });
                }
                let Some(next) = at.checked_add(12).and_then(|at| at.checked_add(name)?.checked_add(size)) else { break };
                at = next;
            }
        }
        (id, 0)
    }
}

/// Notes are padded to four bytes.
fn padded(size: u32) -> usize {
    (size as usize).saturating_add(3) & !3
}

/// A 16-bit number.
pub fn quarter(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A 32-bit number.
pub fn half(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A 64-bit number.
pub fn word(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?)).ok()
}

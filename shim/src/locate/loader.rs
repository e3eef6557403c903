//! The modules of this process, from the dynamic loader.
//!
//! `dl_iterate_phdr` takes only one lock of the loader's, `_dl_load_write_lock`, and not the one that `dlopen` holds while constructors
//! run. `dlclose` unmaps a module while it holds that lock (glibc's `_dl_close_worker`; musl never unmaps), so during the
//! visit the modules in the list stay mapped.
//!
//! `forks` explains the effect of that lock on a child that another thread forks.

use super::forks::Search;
use super::image::{Image, Module};
use super::memory::Memory;
use std::ffi::{c_int, c_void};

/// The loader's counters: modules loaded and modules unloaded so far, in all namespaces.
pub type Generation = (u64, u64);

/// The loader's counters. A change means that modules were loaded or unloaded. A counter never has the same value again, as an address may.
pub fn generation() -> Generation {
    let mut generation = (0, 0);
    each(&mut |found, _| {
        generation = found;
        false
    });
    generation
}

/// Calls `visit` with every module and the loader's counters, under the loader's lock, until it returns `false`.
pub fn each(visit: &mut dyn FnMut(Generation, &libc::dl_phdr_info) -> bool) {
    struct Visit<'a>(&'a mut dyn FnMut(Generation, &libc::dl_phdr_info) -> bool);

    unsafe extern "C" fn one(info: *mut libc::dl_phdr_info, size: usize, visit: *mut c_void) -> c_int {
        // Older loaders pass a shorter structure, without the counters. Then unloading cannot be noticed, so nothing is done.
        if size < size_of::<libc::dl_phdr_info>() {
            return 1;
        }
        // SAFETY: dl_iterate_phdr passes a structure of that size, and passes on the pointer below.
        let (info, visit) = unsafe { (&*info, &mut *visit.cast::<Visit<'_>>()) };
        c_int::from(!visit.0((info.dlpi_adds, info.dlpi_subs), info))
    }

    let mut visit = Visit(visit);
    let _search = Search::begin();
    // SAFETY: the callback has the right type and never unwinds, and `visit` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(one), (&raw mut visit).cast()) };
}

/// Whether the loader searches for a library in the same places for every caller of `dlopen`: no module has an RPATH, and the one with this code
/// has no RUNPATH (dlopen(3)).
pub fn looks_alike<M: Memory>(memory: &M, code: usize) -> bool {
    let mut alike = true;
    each(&mut |_, info| {
        let depends = module(memory, info).and_then(|(module, _)| {
            let here = module.contains(code);
            has_tag(memory, &module, |tag| tag == DT_RPATH || here && tag == DT_RUNPATH)
        });
        alike = depends == Some(false);
        alike
    });
    alike
}

/// Tags of entries of a dynamic section (elf(5)).
const DT_NULL: usize = 0;
const DT_RPATH: usize = 15;
const DT_RUNPATH: usize = 29;

/// Whether a module's dynamic section has such an entry; `None` where it cannot be read.
fn has_tag<M: Memory>(memory: &M, module: &Module, is: impl Fn(usize) -> bool) -> Option<bool> {
    let mut header = [0; 56];
    for n in 0..module.count {
        let at = module.headers.checked_add(n.checked_mul(header.len())?)?;
        if !memory.copy(at, &mut header) {
            return None;
        }
        if super::image::half(&header, 0)? != libc::PT_DYNAMIC {
            continue;
        }
        let (start, len) = (module.bias.checked_add(super::image::word(&header, 16)?)?, super::image::word(&header, 40)?);
        for offset in (0..len).step_by(16) {
            match usize::try_from(memory.word(start.checked_add(offset)?)?).ok()? {
                DT_NULL => break,
                tag if is(tag) => return Some(true),
                _ => {}
            }
        }
    }
    Some(false)
}

/// A module and its segments.
pub fn module<'m, M: Memory>(memory: &'m M, info: &libc::dl_phdr_info) -> Option<(Module, Image<'m, M>)> {
    let headers = info.dlpi_phdr as usize;
    describe(memory, info.dlpi_addr as usize, info.dlpi_name, headers, info.dlpi_phnum.into())
}

fn describe<M: Memory>(
    memory: &M,
    bias: usize,
    name: *const std::ffi::c_char,
    headers: usize,
    count: usize,
) -> Option<(Module, Image<'_, M>)> {
    let image = Image::new(memory, bias, headers, count)?;
    let extent = image.extent();
    // The build id is read later, where a SQLite is found: it takes one more read a module.
    let (id, id_len) = ([0; 20], 0);
    Some((Module { bias, start: extent.start, end: extent.end, name, id, id_len, headers, count }, image))
}

/// The public part of the loader's entry for a module (link.h): what a handle of `dlopen` and `dlmopen` points to.
#[repr(C)]
#[derive(Debug)]
pub struct LinkMap {
    l_addr: usize,
    l_name: *const std::ffi::c_char,
    l_ld: usize,
    l_next: *const LinkMap,
    l_prev: *const LinkMap,
}

/// The modules of another namespace, which `dl_iterate_phdr` does not visit: from a handle that `dlmopen` returned.
///
/// Their program headers are found by the ELF header, with which the first segment of a shared library begins.
///
/// # Safety
/// The handle is open, and no other thread unloads modules of its namespace.
pub unsafe fn each_beside<M: Memory>(memory: &M, handle: *const LinkMap, visit: &mut dyn FnMut(Module, &Image<'_, M>)) {
    // SAFETY: an open handle is a link map, and its list is linked by these two fields.
    let step = |map: *const LinkMap, next: bool| unsafe { if next { (*map).l_next } else { (*map).l_prev } };
    let mut map = handle;
    // No namespace has this many modules. The bound is against a handle that is something else.
    for _ in 0..65_536 {
        match step(map, false) {
            before if before.is_null() => break,
            before => map = before,
        }
    }
    for _ in 0..65_536 {
        // SAFETY: as above.
        let (bias, name) = unsafe { ((*map).l_addr, (*map).l_name) };
        if let Some((headers, count)) = headers(memory, bias)
            && let Some((module, image)) = describe(memory, bias, name, headers, count)
        {
            visit(module, &image);
        }
        map = step(map, true);
        if map.is_null() {
            break;
        }
    }
}

/// The program headers of a shared library, and their number.
fn headers<M: Memory>(memory: &M, base: usize) -> Option<(usize, usize)> {
    let mut head = [0; 64];
    if base == 0 || !memory.copy(base, &mut head) || !head.starts_with(b"\x7fELF") {
        return None;
    }
    let at = base.checked_add(super::image::word(&head, 32)?)?;
    Some((at, super::image::quarter(&head, 56)?.into()))
}

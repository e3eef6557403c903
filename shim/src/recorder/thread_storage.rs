//! A few bytes for each thread, zeros at first, for as long as the thread runs.
//!
//! `thread_local!` in a library that was loaded by `dlopen` gets the bytes from the loader when a thread first uses them. The loader takes them
//! from `malloc`, and ends the process where that fails. Bytes that are addressed by their offset from the thread's own structure (the
//! *initial-exec* model) are part of the memory each thread gets when it begins. The loader keeps some of that free for libraries that are loaded
//! later. No attribute of stable Rust chooses this model, so the place is declared, and its address taken, in assembly.

/// Bytes of the place.
pub(super) const SIZE: usize = 128;

#[cfg(all(target_arch = "x86_64", target_env = "gnu", not(miri)))]
mod arch {
    std::arch::global_asm!(
        ".section .tbss.locktrace_thread, \"awT\", @nobits",
        ".globl locktrace_thread",
        ".hidden locktrace_thread",
        ".type locktrace_thread, @object",
        ".size locktrace_thread, {size}",
        ".p2align 6",
        "locktrace_thread:",
        ".zero {size}",
        ".text",
        size = const super::SIZE,
    );

    /// The address of this thread's bytes, aligned to 64.
    #[inline(always)]
    pub fn place() -> *mut u8 {
        let place: *mut u8;
        // SAFETY: reads the thread's own address from where the ABI keeps it, and adds the offset that the linker or loader worked out.
        unsafe {
            std::arch::asm!(
                "mov {place}, qword ptr [rip + locktrace_thread@GOTTPOFF]",
                "add {place}, qword ptr fs:[0]",
                place = out(reg) place,
                options(pure, readonly, nostack),
            );
        }
        place
    }
}

#[cfg(not(all(target_arch = "x86_64", target_env = "gnu", not(miri))))]
mod arch {
    use std::cell::UnsafeCell;

    #[repr(C, align(64))]
    struct Place(UnsafeCell<[u8; super::SIZE]>);

    thread_local! {
        static PLACE: Place = const { Place(UnsafeCell::new([0; super::SIZE])) };
    }

    /// The address of this thread's bytes, aligned to 64.
    #[inline(always)]
    pub fn place() -> *mut u8 {
        PLACE.with(|place| place.0.get().cast())
    }
}

pub(super) use arch::place;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_its_own_zeros() {
        let look = || {
            let place = place();
            // SAFETY: this thread's own bytes.
            let bytes = unsafe { std::slice::from_raw_parts(place, SIZE) };
            (place as usize, bytes.to_vec())
        };
        let (here, _) = look();
        let (there, zeros) = std::thread::spawn(look).join().unwrap();
        assert_ne!(here, there);
        assert_eq!(zeros, [0; SIZE]);
        assert_eq!((here % 64, there % 64, look().0), (0, 0, here));
    }
}

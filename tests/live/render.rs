//! Records as the words that stand for them in SQLite's lock sequences. They show everything that distinguishes two calls, except times,
//! ids and amounts:
//!
//! | text | call |
//! | --- | --- |
//! | `SHARED`, `RESERVED=BUSY`, `EXCLUSIVE=BUSY(PENDING)` | `xLock`; refused; refused, and left at PENDING |
//! | `U(NONE)`, `U(NONE) redundant` | `xUnlock`; of what was not locked |
//! | `check=0` | `xCheckReservedLock` and its answer |
//! | `S READ0`, `X WRITE=BUSY`, `X CKPT..RECOVER`, `U WRITE` | `xShmLock` |
//! | `map`, `unmap(1)` | the first `xShmMap`; `xShmUnmap` and its delete flag |
//! | `open`, `open wal`, `close`, `close wal` | `xOpen`, `xClose` |
//! | `wrote wal`, `sync wal`, `delete journal` | bytes written since the last such record; `xSync`; `xDelete` |
//! | `ckpt start`, `ckpt done` | around the copying of a checkpoint |
//! | `sleep 1000` | `xSleep`, in microseconds |

use shim::event::{FileKind, Flags, Kind, Slot};
use shim::format::record::Record;

/// See the module.
pub fn render(record: &Record) -> String {
    let file = match record.file_kind {
        FileKind::DATABASE if matches!(record.kind, Kind::OPEN | Kind::CLOSE) => String::new(),
        kind => format!(" {kind}"),
    };
    let text = match record.kind {
        Kind::OPEN => format!("open{file}"),
        Kind::CLOSE => format!("close{file}"),
        Kind::LOCK => record.requested.to_string(),
        Kind::UNLOCK => format!("U({})", record.requested),
        Kind::CHECK_RESERVED => format!("check={}", record.arg),
        Kind::SHM_LOCK => {
            let how = match (record.flags.has(Flags::SHM_UNLOCK), record.flags.has(Flags::SHM_EXCLUSIVE)) {
                (true, _) => "U",
                (false, true) => "X",
                (false, false) => "S",
            };
            let (first, last) = (Slot(record.shm_offset), Slot(record.shm_offset + record.shm_n - 1));
            if first == last { format!("{how} {first}") } else { format!("{how} {first}..{last}") }
        }
        Kind::SHM_MAP => "map".to_owned(),
        Kind::SHM_UNMAP => format!("unmap({})", record.arg),
        Kind::SYNC => format!("sync{file}"),
        Kind::SLEEP => format!("sleep {}", record.arg),
        Kind::DELETE => format!("delete{file}"),
        Kind::CKPT_START => "ckpt start".to_owned(),
        Kind::CKPT_DONE => "ckpt done".to_owned(),
        Kind::WROTE => format!("wrote{file}"),
        Kind::HANDLE => "handle".to_owned(),
        other => other.to_string(),
    };
    let result = if record.rc.is_ok() { String::new() } else { format!("={}", record.rc) };
    let left_at = if record.kind == Kind::LOCK && !record.rc.is_ok() && record.after != record.before {
        format!("({})", record.after)
    } else {
        String::new()
    };
    let redundant = if record.flags.has(Flags::REDUNDANT) { " redundant" } else { "" };
    format!("{text}{result}{left_at}{redundant}")
}

//! locktrace reads what its shim records.

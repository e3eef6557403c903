//! Enumerations whose values each have an entry in a table.
#![forbid(unsafe_code)]

/// Declares an enumeration; `$entry` is the type of the entries and has a field `id`.
macro_rules! identifiers {
    ($(#[$about:meta])* $name:ident: $entry:ty { $($(#[$what:meta])* $variant:ident = $value:path,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name {
            $($(#[$what])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// Everything about it.
            pub(crate) fn entry(self) -> &'static $entry {
                match self {
                    $($name::$variant => &$value,)*
                }
            }

            /// Its identifier, by which reports, tests and exit gates know it.
            pub fn id(self) -> &'static str {
                self.entry().id
            }
        }
    };
}

pub(super) use identifiers;

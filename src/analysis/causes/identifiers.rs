//! A macro for enumerations whose values each have an entry in a table.
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
            /// All values.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The entry of this value.
            pub(crate) fn entry(self) -> &'static $entry {
                match self {
                    $($name::$variant => &$value,)*
                }
            }

            /// The identifier in reports, tests and exit gates.
            pub fn id(self) -> &'static str {
                self.entry().id
            }
        }
    };
}

pub(super) use identifiers;

//! The `locktrace` command.

fn main() -> std::process::ExitCode {
    sqlite_locktrace::cli::main()
}

//! The binary.
fn main() {
    match windlass::cli::run() {
        Ok(code) => std::process::exit(code),
        Err(error) => {
            eprintln!("windlass: {error:#}");
            std::process::exit(1)
        }
    }
}

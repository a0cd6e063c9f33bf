//! How much there is in a component, counted before anything is compiled: what is beyond all measure costs one linear
//! pass and no more. Each bound lies four times or further above what the toolchains of eight languages make.

use wasmparser::{BinaryReaderError, Payload};

use super::report;
use super::{LoadError, text};
use instances::{Holdings, Instances};

pub(super) mod instances;

/// The rules below, by number: what was compiled under others is surveyed anew.
pub(super) const EDITION: u32 = 2;

/// Functions with a body, in all modules together. A component of Python has 13,400.
const FUNCTIONS_MAX: u64 = 200_000;
/// The code of one function. The largest, of a component of Python, has 417 KiB.
const FUNCTION_BYTES_MAX: usize = 2 << 20;
/// Locals of one function. WebAssembly itself allows 50,000; the most that a compiler made are 271.
const LOCALS_MAX: u64 = 10_000;
/// Memories of all modules together.
const MEMORIES_MAX: u64 = 64;
/// Tables of all modules together.
const TABLES_MAX: u64 = 512;
/// Modules and components within the component.
const PARTS_MAX: u64 = 512;
/// How deep components lie within components.
const DEPTH_MAX: usize = 8;
/// Lifted, lowered and built-in functions. A component of Python has 126.
const CANONICAL_MAX: u64 = 50_000;
/// What the component imports, and what it exports.
const NAMES_MAX: usize = 1_000;
/// The longest such name.
const NAME_BYTES_MAX: usize = 1 << 10;

/// Parts of an asynchronous component that can be called, each as often as it is instantiated: each can have a call that waits
/// on a stack of its own. One of JavaScript has two.
pub(super) const CALLABLE_MAX: u32 = 8;

/// What was counted so far.
#[derive(Debug, Default)]
pub(super) struct Survey {
    functions: u64,
    memories: u64,
    tables: u64,
    parts: u64,
    canonical: u64,
    instances: Instances,
    /// How deep the reader is.
    pub(super) depth: usize,
}

/// Why the reader stops.
#[derive(Debug)]
pub(super) enum Stop {
    /// The format's rules are broken.
    Broken(BinaryReaderError),
    /// There is too much of something.
    Refused(LoadError),
}

impl From<BinaryReaderError> for Stop {
    fn from(error: BinaryReaderError) -> Self {
        Self::Broken(error)
    }
}

impl Survey {
    /// Counts the next piece.
    pub(super) fn count(&mut self, payload: &Payload<'_>) -> Result<(), Stop> {
        self.count_parts(payload)?;
        self.instances.count(payload)
    }

    /// What one instance of the component has within it, once all of it is counted.
    pub(super) fn whole(&self, is_async: bool) -> Result<Holdings, Stop> {
        let whole = self.instances.whole()?;
        if is_async {
            bound("parts that can be called, being asynchronous", whole.callable, CALLABLE_MAX.into())?;
        }
        Ok(whole)
    }

    fn count_parts(&mut self, payload: &Payload<'_>) -> Result<(), Stop> {
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                self.depth += 1;
                bound("nested components", self.depth as u64, DEPTH_MAX as u64)?;
                add("modules and components", &mut self.parts, 1, PARTS_MAX)
            }
            Payload::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                Ok(())
            }
            Payload::CodeSectionStart { count, .. } => {
                add("functions", &mut self.functions, u64::from(*count), FUNCTIONS_MAX)
            }
            Payload::CodeSectionEntry(body) => {
                bound("bytes in one function", body.range().len() as u64, FUNCTION_BYTES_MAX as u64)?;
                let mut locals = 0_u64;
                for local in body.get_locals_reader()? {
                    add("locals in one function", &mut locals, u64::from(local?.0), LOCALS_MAX)?;
                }
                Ok(())
            }
            Payload::MemorySection(section) => {
                add("memories", &mut self.memories, u64::from(section.count()), MEMORIES_MAX)
            }
            Payload::TableSection(section) => add("tables", &mut self.tables, u64::from(section.count()), TABLES_MAX),
            Payload::ComponentCanonicalSection(section) => {
                add("canonical functions", &mut self.canonical, u64::from(section.count()), CANONICAL_MAX)
            }
            _ => Ok(()),
        }
    }
}

/// Keeps a name of what is imported or exported.
pub(super) fn keep_name(names: &mut Vec<String>, name: &str) -> Result<(), Stop> {
    bound("bytes in the name of an import or export", name.len() as u64, NAME_BYTES_MAX as u64)?;
    // It is the file's own word until it is found to be one of ours.
    names.push(text::line(name, NAME_BYTES_MAX));
    bound("imports or exports", names.len() as u64, NAMES_MAX as u64)
}

fn add(what: &str, sum: &mut u64, more: u64, most: u64) -> Result<(), Stop> {
    *sum = sum.saturating_add(more);
    bound(what, *sum, most)
}

fn bound(what: &str, count: u64, most: u64) -> Result<(), Stop> {
    if count > most { Err(Stop::Refused(report::oversized(what, count, most))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::inspect::inspect;

    fn refusal(text: &str) -> String {
        inspect(&wat::parse_str(text).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_beyond_all_measure_is_refused_before_it_is_compiled() {
        let locals = format!("(component (core module (func (local {}))))", "i32 ".repeat(10_001));
        let body = format!("(component (core module (func {})))", "(drop (i32.const 1))".repeat(700_000));
        let functions = format!("(component (core module {}))", "(func)".repeat(200_001));
        let memories = format!("(component (core module {}))", "(memory 0)".repeat(65));
        let tables = format!("(component (core module {}))", "(table 0 funcref)".repeat(513));
        let modules = format!("(component {})", "(core module)".repeat(513));
        let nested = format!("{}{}", "(component ".repeat(10), ")".repeat(10));
        let imports: String = (0..1_001).map(|n| format!("(import \"a{n}\" (func))")).collect();
        let imports = format!("(component {imports})");
        let name = format!("(component (import \"a{}\" (func)))", "b".repeat(1_024));
        for (text, told) in [
            (locals, "10001 locals in one function"),
            (body, "bytes in one function"),
            (functions, "200001 functions"),
            (memories, "65 memories"),
            (tables, "513 tables"),
            (modules, "513 modules and components"),
            (nested, "9 nested components"),
            (imports, "1001 imports or exports"),
            (name, "1025 bytes in the name"),
        ] {
            let error = refusal(&text);
            assert!(error.contains(told), "wanted {told:?}, got {error:?}");
        }
    }
}

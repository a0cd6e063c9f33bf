//! A component as its sections, and changes that keep it one.

use std::panic::AssertUnwindSafe;

use libfuzzer_sys::fuzzer_mutate;
use wasm_mutate::WasmMutate;

/// What a component of the present layer begins with.
const HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";
/// The section that holds a module.
const MODULE: u8 = 1;
/// How much a section may grow by one change.
const GROWTH_BYTES: usize = 64;
/// How long one change of a module may be looked for.
const FUEL: u64 = 200;

/// The section's kind and what is in it.
type Section = (u8, Vec<u8>);

/// The component with one change; none where it is no component.
pub fn change(bytes: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut sections = read(bytes)?;
    let place = seed as usize % sections.len().max(1);
    match (seed >> 8) % 8 {
        0..4 => change_module(&mut sections, seed)?,
        4 => change_section(sections.get_mut(place)?),
        5 => sections.insert(place, sections.get(place)?.clone()),
        6 => drop(sections.remove(place)),
        _ => {
            let next = (place + 1) % sections.len();
            sections.swap(place, next);
        }
    }
    Some(write(&sections))
}

fn change_module(sections: &mut [Section], seed: u32) -> Option<()> {
    let modules: Vec<_> = sections.iter_mut().filter(|(kind, _)| *kind == MODULE).collect();
    let count = modules.len();
    let (_, module) = modules.into_iter().nth(seed as usize % count.max(1))?;
    let mut mutate = WasmMutate::default();
    mutate.seed(seed.into()).fuel(FUEL).preserve_semantics(false);
    *module = without_panics(|| mutate.run(module).ok()?.flatten().next())?;
    Some(())
}

/// What changes modules takes only valid ones, and panics at others. That is no finding.
fn without_panics<T>(change: impl FnOnce() -> Option<T>) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let changed = std::panic::catch_unwind(AssertUnwindSafe(change));
    std::panic::set_hook(hook);
    changed.ok().flatten()
}

fn change_section((_, content): &mut Section) {
    let size = content.len();
    content.resize(size + GROWTH_BYTES, 0);
    let room = content.len();
    let changed = fuzzer_mutate(content, size, room);
    content.truncate(changed);
}

fn read(bytes: &[u8]) -> Option<Vec<Section>> {
    let mut rest = bytes.strip_prefix(&HEADER)?;
    let mut sections = Vec::new();
    while let Some((kind, after)) = rest.split_first() {
        let (size, size_bytes) = number(after)?;
        let content = after.get(size_bytes..size_bytes.checked_add(size)?)?;
        sections.push((*kind, content.to_vec()));
        rest = &after[size_bytes + size..];
    }
    (!sections.is_empty()).then_some(sections)
}

/// A number in LEB128, and how many bytes it has.
fn number(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (place, byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 0x7f) << (place * 7);
        if byte & 0x80 == 0 {
            return Some((value, place + 1));
        }
    }
    None
}

fn write(sections: &[Section]) -> Vec<u8> {
    let mut bytes = HEADER.to_vec();
    for (kind, content) in sections {
        bytes.push(*kind);
        let mut left = content.len();
        loop {
            let low = (left & 0x7f) as u8;
            left >>= 7;
            bytes.push(if left == 0 { low } else { low | 0x80 });
            if left == 0 {
                break;
            }
        }
        bytes.extend_from_slice(content);
    }
    bytes
}

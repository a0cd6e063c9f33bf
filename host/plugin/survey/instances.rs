//! How often each part of a component is instantiated where the component is, and what all of that takes of the host:
//! wasmtime shows its limiter memories and tables alone. Nothing is checked here that the compiler checks: what leads
//! nowhere is refused there.

use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ElementItems,
    ElementKind, Instance, Payload,
};

use super::super::report;
use super::{Stop, bound};

/// Instances of components within one instance of the whole. The toolchains make up to six.
const COMPONENTS_MAX: u64 = 1_000;
/// Modules and components that can be named within a component.
const NAMED_MAX: u64 = 10_000;

/// What wasmtime keeps of an instance of a component, at most.
const COMPONENT_BYTES: u64 = 256;
/// The same for each function that is lowered, lifted or built in.
const CANONICAL_BYTES: u64 = 64;
/// What wasmtime keeps of an instance of a module, at most.
const MODULE_BYTES: u64 = 512;
/// The same for whatever has an index in it.
const ENTRY_BYTES: u64 = 32;
/// The same for a piece of data.
const DATA_BYTES: u64 = 12;
/// The same for a segment that is copied into tables by the guest itself.
const SEGMENT_BYTES: u64 = 64;
/// The same for one of its elements.
const ELEMENT_BYTES: u64 = 16;

/// What one instance has within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Holdings {
    /// Instances of components.
    components: u64,
    /// Those among them that can be called, and so can have a call that waits.
    pub(in super::super) callable: u64,
    /// What it takes of the host beside memories and tables, at most.
    pub(in super::super) bytes: u64,
    /// Instances of modules that are not known where they are instantiated.
    strangers: u64,
}

impl Holdings {
    fn add(&mut self, more: Self) {
        self.components = self.components.saturating_add(more.components);
        self.callable = self.callable.saturating_add(more.callable);
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.strangers = self.strangers.saturating_add(more.strangers);
    }
}

/// A module that is being read.
#[derive(Debug, Default)]
struct Module {
    functions: u64,
    /// What can make a function one that is pointed to.
    mentions: u64,
    entries: u64,
    segments_bytes: u64,
}

impl Module {
    fn count(&mut self, payload: &Payload<'_>) -> Result<(), Stop> {
        match payload {
            // Each may be a function.
            Payload::ImportSection(section) => {
                self.entries += u64::from(section.count());
                self.functions += u64::from(section.count());
            }
            Payload::FunctionSection(section) => self.functions += u64::from(section.count()),
            Payload::TableSection(section) => self.entries += u64::from(section.count()),
            Payload::MemorySection(section) => self.entries += u64::from(section.count()),
            Payload::TagSection(section) => self.entries += u64::from(section.count()),
            Payload::GlobalSection(section) => {
                self.entries += u64::from(section.count());
                self.mentions += u64::from(section.count());
            }
            Payload::ExportSection(section) => self.mentions += u64::from(section.count()),
            Payload::DataSection(section) => self.segments_bytes += u64::from(section.count()) * DATA_BYTES,
            Payload::ElementSection(section) => {
                for element in section.clone() {
                    let element = element?;
                    let elements = match &element.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    };
                    self.mentions += u64::from(elements);
                    if matches!(element.kind, ElementKind::Passive) {
                        self.segments_bytes += SEGMENT_BYTES + u64::from(elements) * ELEMENT_BYTES;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What an instance of it takes. No sum of what a file can hold is too large for its number.
    fn bytes(&self) -> u64 {
        let entries = self.entries + self.functions.min(self.mentions);
        MODULE_BYTES + entries * ENTRY_BYTES + self.segments_bytes
    }
}

/// A component that is being read: what can be instantiated in it so far, and what it instantiates itself.
#[derive(Debug, Default)]
struct Component {
    /// What an instance of each module takes; of those that come from elsewhere it is not known.
    modules: Vec<Option<u64>>,
    components: Vec<Option<Holdings>>,
    lifts: bool,
    own: Holdings,
}

impl Component {
    fn whole(&self) -> Holdings {
        let mut whole =
            Holdings { components: 1, callable: u64::from(self.lifts), bytes: COMPONENT_BYTES, strangers: 0 };
        whole.add(self.own);
        whole
    }

    fn name_module(&mut self, module: Option<u64>) -> Result<(), Stop> {
        self.modules.push(module);
        bound("modules in one component", self.modules.len() as u64, NAMED_MAX)
    }

    fn name_component(&mut self, component: Option<Holdings>) -> Result<(), Stop> {
        self.components.push(component);
        bound("components in one component", self.components.len() as u64, NAMED_MAX)
    }

    /// Something of another place has a name here.
    fn name_stranger(&mut self, kind: ComponentExternalKind) -> Result<(), Stop> {
        match kind {
            ComponentExternalKind::Module => self.name_module(None),
            ComponentExternalKind::Component => self.name_component(None),
            _ => Ok(()),
        }
    }

    fn module(&self, index: u32) -> Option<u64> {
        self.modules.get(index as usize).copied().flatten()
    }

    fn component(&self, index: u32) -> Option<Holdings> {
        self.components.get(index as usize).copied().flatten()
    }

    fn instantiate_module(&mut self, index: u32) {
        let more = match self.module(index) {
            Some(bytes) => Holdings { bytes, ..Holdings::default() },
            None => Holdings { strangers: 1, ..Holdings::default() },
        };
        self.own.add(more);
    }

    /// What is handed over could itself be handed something, and so on: no toolchain makes that, and nobody counts it.
    fn instantiate_component(&mut self, index: u32) -> Result<(), Stop> {
        let more = self.component(index).ok_or_else(|| Stop::Refused(report::handed_component()))?;
        self.own.add(more);
        Ok(())
    }
}

/// What is being read, and within it the next, and so on.
#[derive(Debug)]
enum Part {
    Module(Module),
    Component(Component),
}

/// Counts as the reader goes on.
#[derive(Debug)]
pub(super) struct Instances {
    open: Vec<Part>,
    /// Of all modules, the one that takes most.
    module_bytes_max: u64,
    whole: Holdings,
}

impl Default for Instances {
    fn default() -> Self {
        Self { open: vec![Part::Component(Component::default())], module_bytes_max: 0, whole: Holdings::default() }
    }
}

impl Instances {
    /// Takes the next piece.
    pub(super) fn count(&mut self, payload: &Payload<'_>) -> Result<(), Stop> {
        match payload {
            Payload::ModuleSection { .. } => self.open.push(Part::Module(Module::default())),
            Payload::ComponentSection { .. } => self.open.push(Part::Component(Component::default())),
            Payload::End(_) => return self.end(),
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    self.alias(&alias?)?;
                }
            }
            _ => match self.open.last_mut() {
                Some(Part::Module(module)) => return module.count(payload),
                Some(Part::Component(component)) => return within(component, payload),
                None => {}
            },
        }
        Ok(())
    }

    /// All of it, once it is read.
    pub(super) fn whole(&self) -> Result<Holdings, Stop> {
        let Holdings { components, callable, bytes, strangers } = self.whole;
        bound("instances of components", components, COMPONENTS_MAX)?;
        let bytes = bytes.saturating_add(strangers.saturating_mul(self.module_bytes_max));
        Ok(Holdings { components, callable, bytes, strangers: 0 })
    }

    fn end(&mut self) -> Result<(), Stop> {
        let ended = self.open.pop();
        match (ended, self.open.last_mut()) {
            (Some(Part::Module(module)), Some(Part::Component(around))) => {
                self.module_bytes_max = self.module_bytes_max.max(module.bytes());
                around.name_module(Some(module.bytes()))
            }
            (Some(Part::Component(component)), Some(Part::Component(around))) => {
                around.name_component(Some(component.whole()))
            }
            (Some(Part::Component(outermost)), None) => {
                self.whole = outermost.whole();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>) -> Result<(), Stop> {
        let outer = |count: u32| {
            let nth = self.open.len().checked_sub(1 + count as usize)?;
            if let Part::Component(component) = &self.open[nth] { Some(component) } else { None }
        };
        match *alias {
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, count, index } => {
                let module = outer(count).and_then(|outer| outer.module(index));
                self.innermost().map_or(Ok(()), |inner| inner.name_module(module))
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                let component = outer(count).and_then(|outer| outer.component(index));
                self.innermost().map_or(Ok(()), |inner| inner.name_component(component))
            }
            ComponentAlias::InstanceExport { kind, .. } => {
                self.innermost().map_or(Ok(()), |inner| inner.name_stranger(kind))
            }
            _ => Ok(()),
        }
    }

    fn innermost(&mut self) -> Option<&mut Component> {
        match self.open.last_mut() {
            Some(Part::Component(component)) => Some(component),
            _ => None,
        }
    }
}

fn within(component: &mut Component, payload: &Payload<'_>) -> Result<(), Stop> {
    match payload {
        Payload::InstanceSection(section) => {
            for instance in section.clone() {
                if let Instance::Instantiate { module_index, .. } = instance? {
                    component.instantiate_module(module_index);
                }
            }
        }
        Payload::ComponentInstanceSection(section) => {
            for instance in section.clone() {
                if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                    component.instantiate_component(component_index)?;
                }
            }
        }
        Payload::ComponentImportSection(section) => {
            for import in section.clone() {
                component.name_stranger(import?.ty.kind())?;
            }
        }
        // What is exported has one more name from there on.
        Payload::ComponentExportSection(section) => {
            for export in section.clone() {
                let export = export?;
                match export.kind {
                    ComponentExternalKind::Module => component.name_module(component.module(export.index))?,
                    ComponentExternalKind::Component => component.name_component(component.component(export.index))?,
                    _ => {}
                }
            }
        }
        Payload::ComponentCanonicalSection(section) => {
            for function in section.clone() {
                component.lifts |= matches!(function?, CanonicalFunction::Lift { .. });
                component.own.add(Holdings { bytes: CANONICAL_BYTES, ..Holdings::default() });
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;

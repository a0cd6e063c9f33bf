//! Plugins that are not there: where they come from, and who runs their jobs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use windlass::clock::Chance;
use windlass::job::gates::{PluginLimits, Rate};
use windlass::job::{Evidence, Outcome, PluginStanding, RetryOverride};
use windlass::plugin::Call;
use windlass::worker::{Handler, Handlers, PluginNews, PluginSource};

use crate::attempt::Attempt;
use crate::draw::Draw as _;
use crate::plan::PLUGINS;
use crate::trace::Effect;
use crate::world::World;

/// The plugins folder.
pub struct Shelf {
    pub plugins: Vec<OnShelf>,
}

/// A plugin as it lies in the folder.
#[derive(Clone, Debug)]
pub struct OnShelf {
    pub standing: PluginStanding,
    pub traps: bool,
    pub is_granted: bool,
    pub limits: PluginLimits,
    pub retry: RetryOverride,
    /// The host has not heard of it yet; whether its grants were edited.
    news: Option<bool>,
    /// As the host's registry has it.
    taken_up: bool,
}

impl Shelf {
    pub fn draw(chance: &Chance) -> Self {
        let plugin = |_| OnShelf {
            standing: PluginStanding::Ready,
            traps: false,
            is_granted: true,
            limits: limits(chance),
            retry: RetryOverride { max_attempts: chance.one_of(&[None, None, Some(4)]), ..RetryOverride::default() },
            news: None,
            taken_up: false,
        };
        Self { plugins: PLUGINS.map(plugin).into() }
    }

    /// Something was done to a plugin's files.
    pub fn edit(&mut self, plugin: usize, are_grants: bool, edit: impl FnOnce(&mut OnShelf)) {
        let on_shelf = &mut self.plugins[plugin];
        edit(on_shelf);
        on_shelf.news = Some(are_grants || on_shelf.news.unwrap_or(false));
    }

    /// A host starts, and has heard of nothing.
    pub fn is_new_to_the_host(&mut self) {
        for plugin in &mut self.plugins {
            // Against nothing, any file is an edit.
            (plugin.news, plugin.taken_up) = (Some(true), false);
        }
    }
}

/// Draws limits.
pub fn limits(chance: &Chance) -> PluginLimits {
    PluginLimits {
        concurrency: chance.one_of(&[None, None, Some(1), Some(4)]),
        rate: chance.one_of(&[None, None, None, Some(Rate { per_second: 3.0 })]),
        ..PluginLimits::default()
    }
}

/// The source of a host's plugins.
pub struct Source {
    pub world: Arc<World>,
    pub life: u32,
    pub changes: mpsc::UnboundedSender<PluginNews>,
    pub changed: Arc<Notify>,
}

#[async_trait]
impl PluginSource for Source {
    async fn look(&self) -> Option<Duration> {
        for index in 0..PLUGINS.len() {
            let news = {
                let mut state = self.world.state();
                let plugin = &mut state.shelf.plugins[index];
                let news = plugin.news.take().map(|grants_edited| news(index, plugin, grants_edited));
                plugin.taken_up |= news.is_some();
                news
            };
            if let Some(news) = news {
                self.world.effect(self.life, Effect::News(index)).await;
                // Nobody listens any more where the host has stopped.
                _ = self.changes.send(news);
            }
        }
        None
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

fn news(index: usize, plugin: &OnShelf, grants_edited: bool) -> PluginNews {
    let name = PLUGINS[index].to_owned();
    match &plugin.standing {
        PluginStanding::Missing => PluginNews::Gone { name },
        standing => {
            let (standing, limits) = (standing.clone(), plugin.limits);
            PluginNews::Stands { name, standing, limits, is_another: true, grants_edited }
        }
    }
}

/// Who runs the jobs of a host.
pub struct Crew {
    pub world: Arc<World>,
    pub life: u32,
}

impl Handlers for Crew {
    fn find(&self, name: &str) -> Option<Arc<dyn Handler>> {
        let index = PLUGINS.iter().position(|plugin| *plugin == name)?;
        let plugin = self.world.state().shelf.plugins[index].clone();
        let runs = plugin.taken_up && plugin.standing == PluginStanding::Ready;
        let hand = || Hand { world: self.world.clone(), life: self.life, index, plugin };
        runs.then(|| Arc::new(hand()) as Arc<dyn Handler>)
    }
}

/// Runs the jobs of one plugin, as it was when it was asked for.
struct Hand {
    world: Arc<World>,
    life: u32,
    index: usize,
    plugin: OnShelf,
}

#[async_trait]
impl Handler for Hand {
    fn retry(&self) -> &RetryOverride {
        &self.plugin.retry
    }

    async fn run(&self, call: Call, cancelled: &CancellationToken) -> (Outcome, Evidence) {
        let attempt = Attempt::begin(&self.world, self.life, self.index, &call);
        attempt.run(&self.plugin, cancelled).await
    }
}

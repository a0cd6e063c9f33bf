//! What is kept of plugins and downstreams: which are paused, how they stand, and when grants were edited last.

use rusqlite::{Connection, params};

use super::effect::Effect;
use super::fault::{Fault, Outcome};
use super::writer::{Group, Writer};
use crate::job::Lane;
use crate::job::health::Kept;
use crate::store::{Standing, Standings};

/// Everything of it.
pub(super) fn read(conn: &Connection) -> Outcome<Standings> {
    let mut statement = conn.prepare_cached("SELECT name FROM paused_plugins ORDER BY name")?;
    let paused_plugins = statement.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut statement = conn.prepare_cached("SELECT plugin, downstream, health FROM downstreams")?;
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let downstreams = rows.map(|row| downstream(row?)).collect::<Outcome<_>>()?;
    Ok(Standings { paused_plugins, downstreams })
}

fn downstream((plugin, downstream, health): (String, String, String)) -> Outcome<(Lane, Kept)> {
    let kept = serde_json::from_str(&health)
        .map_err(|error| Fault::Damaged(format!("the health of {plugin} {downstream}: {error}")))?;
    Ok((Lane::new(&plugin, &downstream), kept))
}

impl Writer {
    pub(super) fn set_standing(&self, standing: Standing) -> Outcome<()> {
        match standing {
            Standing::Plugin { name, paused: true } => {
                let sql = "INSERT INTO paused_plugins (name) VALUES (?1) ON CONFLICT DO NOTHING";
                self.conn.prepare_cached(sql)?.execute([name])?;
            }
            Standing::Plugin { name, paused: false } => {
                self.conn.prepare_cached("DELETE FROM paused_plugins WHERE name = ?1")?.execute([name])?;
            }
            Standing::Downstream { lane, kept } if kept.is_empty() => {
                let sql = "DELETE FROM downstreams WHERE plugin = ?1 AND downstream = ?2";
                self.conn.prepare_cached(sql)?.execute(params![&*lane.plugin, &*lane.downstream])?;
            }
            Standing::Downstream { lane, kept } => {
                let sql = "INSERT INTO downstreams (plugin, downstream, health) VALUES (?1, ?2, ?3) \
                           ON CONFLICT DO UPDATE SET health = excluded.health";
                let health =
                    serde_json::to_string(&kept).map_err(|error| Fault::Damaged(format!("a health: {error}")))?;
                self.conn.prepare_cached(sql)?.execute(params![&*lane.plugin, &*lane.downstream, health])?;
            }
        }
        Ok(())
    }

    /// Writes one row, however many jobs are held: those whose newest attempt is not newer are free. An attempt that
    /// runs now may have begun under the old grants, and be about to hold its job for want of what is granted by now:
    /// it will not.
    pub(super) fn unhold(&mut self, plugin: String, group: &mut Group) -> Outcome<()> {
        self.edited.insert(plugin.clone(), self.shared.memory().live.next_token());
        let sql = "INSERT INTO unholds (plugin, seq) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET seq = excluded.seq";
        self.conn.prepare_cached(sql)?.execute(params![plugin, self.numbers.attempts_next - 1])?;
        group.effects.push(Effect::Unhold(plugin));
        Ok(())
    }
}

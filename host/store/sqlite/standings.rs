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
    let sql = "SELECT name, sum = row_sum('paused', name) FROM paused_plugins ORDER BY name";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let paused_plugins = rows.map(|row| paused(row?)).collect::<Outcome<_>>()?;
    let sql =
        "SELECT plugin, downstream, health, sum = row_sum('downstream', plugin, downstream, health) FROM downstreams";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    let downstreams = rows.map(|row| downstream(row?)).collect::<Outcome<_>>()?;
    Ok(Standings { paused_plugins, downstreams })
}

fn paused((name, sound): (String, bool)) -> Outcome<String> {
    if !sound {
        return Err(Fault::Damaged(format!("the pause of {name:?} does not fit its sum")));
    }
    Ok(name)
}

fn downstream((plugin, downstream, health, sound): (String, String, String, bool)) -> Outcome<(Lane, Kept)> {
    if !sound {
        return Err(Fault::Damaged(format!("the health of {plugin:?} {downstream:?} does not fit its sum")));
    }
    let kept = serde_json::from_str(&health)
        .map_err(|error| Fault::Damaged(format!("the health of {plugin} {downstream}: {error}")))?;
    Ok((Lane::new(&plugin, &downstream), kept))
}

impl Writer<'_> {
    pub(super) fn set_standing(&self, standing: Standing) -> Outcome<()> {
        match standing {
            Standing::Plugin { name, paused: true } => {
                let sql = "INSERT INTO paused_plugins (name, sum) VALUES (?1, row_sum('paused', ?1)) \
                           ON CONFLICT DO NOTHING";
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
                let sql = "INSERT INTO downstreams (plugin, downstream, health, sum) \
                           VALUES (?1, ?2, ?3, row_sum('downstream', ?1, ?2, ?3)) \
                           ON CONFLICT DO UPDATE SET health = excluded.health, sum = excluded.sum";
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
        let sql = "INSERT INTO unholds (plugin, seq, sum) VALUES (?1, ?2, row_sum('unhold', ?1, ?2)) \
                   ON CONFLICT DO UPDATE SET seq = excluded.seq, sum = excluded.sum";
        self.conn.prepare_cached(sql)?.execute(params![plugin, self.numbers.attempts_next - 1])?;
        group.effects.push(Effect::Unhold(plugin));
        Ok(())
    }
}

//! What is kept of plugins: which are paused, and when their grants were edited last.

use rusqlite::{Connection, params};

use super::effect::Effect;
use super::fault::Outcome;
use super::writer::{Group, Writer};

/// The plugins that a person paused.
pub(super) fn paused(conn: &Connection) -> Outcome<Vec<String>> {
    let mut statement = conn.prepare_cached("SELECT name FROM paused_plugins ORDER BY name")?;
    let names = statement.query_map((), |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

impl Writer {
    pub(super) fn set_paused(&self, plugin: &str, paused: bool) -> Outcome<()> {
        let sql = if paused {
            "INSERT INTO paused_plugins (name) VALUES (?1) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM paused_plugins WHERE name = ?1"
        };
        self.conn.prepare_cached(sql)?.execute([plugin])?;
        Ok(())
    }

    /// Writes one row, however many jobs are held: those whose newest attempt is not newer are free.
    pub(super) fn unhold(&self, plugin: String, group: &mut Group) -> Outcome<()> {
        let sql = "INSERT INTO unholds (plugin, seq) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET seq = excluded.seq";
        self.conn.prepare_cached(sql)?.execute(params![plugin, self.numbers.attempts_next - 1])?;
        group.effects.push(Effect::Unhold(plugin));
        Ok(())
    }
}

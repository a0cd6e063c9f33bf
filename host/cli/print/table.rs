//! Tables as wide as the terminal, in which no id is cut: it is there to be copied.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, Width, presets};

/// A name is shortened to no less than so many columns.
const NAME_MIN: u16 = 20;

/// A table with these columns. Where the terminal is narrow its cells have several lines.
pub(in crate::cli) fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = begun(columns);
    table.add_rows(rows);
    keep_names(&mut table, columns);
    lines(&table)
}

/// The same with a line for each row. Where the terminal is narrow it goes without the columns that are empty, and shortens
/// the others.
pub(in crate::cli) fn list(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    listed(begun(columns), columns, rows)
}

fn listed(mut table: Table, columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut is_empty = vec![true; columns.len()];
    for row in rows {
        is_empty.iter_mut().zip(&row).for_each(|(is_empty, cell)| *is_empty &= cell.is_empty());
        let mut row = Row::from(row);
        row.max_height(1);
        table.add_row(row);
    }
    keep_names(&mut table, columns);
    let paddings: u16 = table.column_iter().map(|column| column.padding_width()).sum();
    let wanted = table.column_max_content_widths().iter().fold(paddings, |sum, width| sum.saturating_add(*width));
    if !table.is_empty() && table.width().is_some_and(|width| width < wanted) {
        for (column, _) in table.column_iter_mut().zip(is_empty).filter(|(_, is_empty)| *is_empty) {
            column.set_constraint(ColumnConstraint::Hidden);
        }
    }
    lines(&table)
}

fn begun(columns: &[&str]) -> Table {
    let mut header = Row::from(columns.iter().map(|name| name.to_uppercase()).collect::<Vec<_>>());
    header.max_height(1);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(header);
    table
}

/// Has ids shown in full, and of names as much as tells them apart.
fn keep_names(table: &mut Table, columns: &[&str]) {
    let widths = table.column_max_content_widths();
    for ((column, name), content) in table.column_iter_mut().zip(columns).zip(widths) {
        match *name {
            "id" => {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
            "name" | "plugin" | "downstream" => {
                let least = content.min(NAME_MIN) + column.padding_width();
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
            }
            _ => {}
        }
    }
}

fn lines(table: &Table) -> String {
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    format!("{}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [&str; 6] = ["id", "plugin", "downstream", "waiting", "created", "last error"];
    const ID: &str = "01a22111-6b24-7000-8030-e0689d439a55";

    fn row(waiting: &str) -> Vec<String> {
        let error = "the downstream at https://erp.example answered 503";
        [ID, "echo", &"erp.example".repeat(3), waiting, "2026-11-28T07:31:59.396Z", error].map(str::to_owned).to_vec()
    }

    fn narrow(width: u16, rows: [Vec<String>; 2]) -> String {
        let mut table = begun(&COLUMNS);
        table.set_width(width);
        listed(table, &COLUMNS, rows)
    }

    #[test]
    fn a_list_has_a_line_for_each_thing_and_its_whole_id() {
        let shown = narrow(100, [row(""), row("breaker-open")]);
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines.len(), 3, "{shown}");
        for line in &lines[1..] {
            assert!(line.contains(ID) && line.contains(" echo ") && line.contains("erp.exampleerp.exam"), "{shown}");
            assert!(line.contains('…') && line.chars().count() <= 100, "{shown}");
        }
        assert!(lines[0].contains("WAIT"), "{shown}");
        assert!(!narrow(100, [row(""), row("")]).contains("WAIT"));
        for width in [1, 30] {
            assert!(narrow(width, [row(""), row("")]).contains(ID));
        }
    }

    #[test]
    fn what_has_room_is_shown_as_it_is() {
        let shown = narrow(300, [row(""), row("")]);
        assert!(shown.contains("WAITING") && shown.contains("answered 503") && !shown.contains('…'), "{shown}");
        let shown = list(&COLUMNS, []);
        assert!(shown.contains("LAST ERROR") && shown.lines().count() == 1, "{shown}");
    }

    #[test]
    fn other_tables_are_wrapped_and_not_cut() {
        let mut narrow = begun(&COLUMNS);
        narrow.set_width(100).add_row(row(""));
        keep_names(&mut narrow, &COLUMNS);
        let shown = lines(&narrow);
        assert!(shown.lines().count() > 2 && shown.contains(ID) && !shown.contains('…'), "{shown}");
    }
}

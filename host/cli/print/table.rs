//! Tables as wide as the terminal, in which no id is cut: it is there to be copied.

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, Width, presets};

/// A name, or how a thing stands, is shortened to no less than so much.
const WORD_MIN: u16 = 12;
/// What of another cell is of any use.
const OTHER_MIN: u16 = 5;
/// The blanks around a cell.
const PADDING: u16 = 2;
/// Stands behind the names of the columns where some had no room.
const MORE: &str = " …";

/// A table with these columns. Where the terminal is narrow its cells have several lines.
pub(in crate::cli) fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = begun(columns);
    table.add_rows(rows);
    keep_words(&mut table, columns);
    lines(&table)
}

/// The same with a line for each row. Where the terminal is narrow, cells are shortened. Columns go that are empty, then
/// those on the right of which nothing of use could be seen.
pub(in crate::cli) fn list(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    listed(begun(columns), columns, rows)
}

fn listed(mut table: Table, columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut is_empty = vec![true; columns.len()];
    for row in rows {
        is_empty.iter_mut().zip(&row).for_each(|(is_empty, cell)| *is_empty &= cell.is_empty());
        table.add_row(one_line(row));
    }
    if table.is_empty() {
        is_empty.fill(false);
    }
    table.set_header(one_line(headed(columns)));
    keep_words(&mut table, columns);
    let mark = if leave_out(&mut table, columns, &is_empty) { MORE } else { "" };
    lines(&table).replacen('\n', &format!("{mark}\n"), 1)
}

fn begun(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headed(columns));
    table
}

fn headed(columns: &[&str]) -> Vec<String> {
    columns.iter().map(|name| name.to_uppercase()).collect()
}

fn one_line(cells: Vec<String>) -> Row {
    let mut row = Row::from(cells);
    row.max_height(1);
    row
}

/// How much of a column's content is shown at least.
fn least(name: &str, content: u16) -> u16 {
    match name {
        "id" => content,
        "name" | "plugin" | "downstream" | "state" | "breaker" => content.min(WORD_MIN),
        _ => content.min(OTHER_MIN),
    }
}

/// Has ids shown in full, and of names as much as tells them apart.
fn keep_words(table: &mut Table, columns: &[&str]) {
    let contents = table.column_max_content_widths();
    for ((column, name), content) in table.column_iter_mut().zip(columns).zip(contents) {
        let least = least(name, content);
        if least == content {
            column.set_constraint(ColumnConstraint::ContentWidth);
        } else if least > OTHER_MIN {
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least + PADDING)));
        }
    }
}

/// Hides the columns for which a narrow terminal has no room. Answers whether anything was in one of them.
fn leave_out(table: &mut Table, columns: &[&str], is_empty: &[bool]) -> bool {
    let contents = table.column_max_content_widths();
    let needed = |shown: &[usize], width: &dyn Fn(usize) -> u16| -> usize {
        shown.iter().map(|at| usize::from(width(*at)) + usize::from(PADDING)).sum()
    };
    let mut shown: Vec<_> = (0..columns.len()).collect();
    let all = needed(&shown, &|at| contents[at]);
    let Some(width) = table.width().map(usize::from).filter(|width| *width < all) else { return false };
    shown.retain(|at| !is_empty[*at]);
    let full = shown.len();
    while needed(&shown, &|at| least(columns[at], contents[at])) + MORE.chars().count() > width
        && let Some(last) = shown.iter().rposition(|at| least(columns[*at], u16::MAX) == OTHER_MIN)
    {
        shown.remove(last);
    }
    for column in table.column_iter_mut().filter(|column| !shown.contains(&column.index)) {
        column.set_constraint(ColumnConstraint::Hidden);
    }
    let is_less = shown.len() < full;
    if is_less {
        // The mark stands behind the names of the columns.
        table.set_width(u16::try_from(width.saturating_sub(MORE.chars().count())).unwrap_or(u16::MAX));
    }
    is_less
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
        let shown = narrow(105, [row(""), row("breaker-open")]);
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines.len(), 3, "{shown}");
        for line in &lines[1..] {
            assert!(line.contains(ID) && line.contains("  echo  ") && line.contains("erp.example"), "{shown}");
            assert!(line.contains('…') && line.chars().count() <= 105, "{shown}");
        }
        assert!(lines[0].contains("WAIT") && lines[0].contains("LAST") && !lines[0].ends_with(MORE), "{shown}");
    }

    #[test]
    fn where_there_is_no_room_columns_go_that_are_empty_and_then_those_on_the_right() {
        let shown = narrow(95, [row(""), row("")]);
        assert!(!shown.contains("WAIT") && shown.contains("LAST ERROR") && !shown.contains(MORE), "{shown}");
        let shown = narrow(80, [row("breaker-open"), row("")]);
        let header = shown.lines().next().unwrap();
        assert!(header.contains("WAIT") && !header.contains("LAST") && header.ends_with(MORE), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        for width in 70..200 {
            let shown = narrow(width, [row("breaker-open"), row("")]);
            assert!(shown.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}: {shown}");
        }
        let shown = narrow(1, [row(""), row("")]);
        assert!(shown.contains(ID) && shown.contains("echo") && shown.lines().count() == 3, "{shown}");
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
        keep_words(&mut narrow, &COLUMNS);
        let shown = lines(&narrow);
        assert!(shown.lines().count() > 2 && shown.contains(ID) && !shown.contains('…'), "{shown}");
    }
}

//! A page as HTML: one file that loads nothing, runs nothing, and can be printed.

use super::page::{Block, Line, Page};
use crate::visible::visible;

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;\
color:#1a1a1a;background:#fff}\
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem;border-bottom:1px solid #bbb}\
h3{font-size:1rem;margin-bottom:.3rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0;border-bottom:1px solid #ddd}\
code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}\
td,li{overflow-wrap:anywhere}\
ul.checks{list-style:none;padding-left:0}ul.checks ul{padding-left:2rem}\
.box{font-weight:bold}\
@media print{body{margin:0;max-width:none;font-size:11pt}h2{break-after:avoid}\
tr,li{break-inside:avoid}}";

pub(super) fn render(page: &Page) -> String {
    let title = escape(&page.title);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width\"/>\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    for block in &page.lead {
        html.push_str(&render_block(block));
    }
    for section in &page.sections {
        html.push_str(&format!("<h2>{}</h2>\n", escape(section.title)));
        for block in &section.blocks {
            html.push_str(&render_block(block));
        }
    }
    html.push_str("</body>\n</html>\n");
    html
}

fn render_block(block: &Block) -> String {
    match block {
        Block::Heading(title) => format!("<h3>{}</h3>\n", escape(title)),
        Block::Text(line) => format!("<p>{}</p>\n", render_line(line)),
        Block::List(lines) => format!("<ul>\n{}</ul>\n", items(lines)),
        Block::Checks(checks) => {
            let checks = checks.iter().map(|check| {
                let (sign, word) = match check.done {
                    true => ("&#9745;", "done"),
                    false => ("&#9744;", "open"),
                };
                let line = render_line(&check.line);
                let notes = match check.notes.is_empty() {
                    true => String::new(),
                    false => format!("\n<ul>\n{}</ul>\n", items(&check.notes)),
                };
                format!("<li><span class=\"box\">{sign} {word}</span>: {line}{notes}</li>\n")
            });
            format!(
                "<ul class=\"checks\">\n{}</ul>\n",
                checks.collect::<String>()
            )
        }
        Block::Table { head, rows } => table(head, rows),
    }
}

fn items(lines: &[Line]) -> String {
    let items = lines
        .iter()
        .map(|l| format!("<li>{}</li>\n", render_line(l)));
    items.collect()
}

fn render_line(line: &Line) -> String {
    let text = escape(&line.text);
    match &line.code {
        Some(code) => format!("{text} <code>{}</code>", escape(code)),
        None => text,
    }
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let heads = head
        .iter()
        .map(|title| format!("<th>{}</th>", escape(title)));
    let rows = rows.iter().map(|row| {
        let cells = row.iter().map(|cell| format!("<td>{}</td>", escape(cell)));
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    });
    format!(
        "<table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>\n</table>\n",
        heads.collect::<String>(),
        rows.collect::<String>()
    )
}

/// The text on one line, without anything that is markup.
fn escape(text: &str) -> String {
    let line = visible(text).replace('&', "&amp;");
    let line = line.replace('<', "&lt;").replace('>', "&gt;");
    line.replace('"', "&quot;").replace('\'', "&#39;")
}

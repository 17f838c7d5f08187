//! The picture: a panel for each job, a bar for each contender, on one logarithmic scale.
//!
//! All bars count something per second (`idle`: processes per GB), so longer is better everywhere, and a panel can be
//! compared with another one. The colours follow what the reader's system prefers; the background is left as it is.

use super::{
    job::Job,
    report::{Report, Row, short},
};
use std::fmt::Write;

const WIDTH: f64 = 900.0;
const COLUMNS: usize = 2;
const PANEL: f64 = WIDTH / COLUMNS as f64;
const LABEL: f64 = 92.0;
const VALUE: f64 = 64.0;
const BAR: f64 = PANEL - LABEL - VALUE;
const ROW: f64 = 15.0;
const TITLE: f64 = 26.0;
const HEAD: f64 = 46.0;

const STYLE: &str = "\
text { font: 11px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600; font-size: 13px }
.note, .axis { fill: #59636e } .axis { font-size: 9px } .grid { stroke: #d1d9e0 }
.engset { fill: #b3410e } .engset-server { fill: #e08a3c } .other { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note, .axis { fill: #9198a1 } .grid { stroke: #3d444d }
  .engset { fill: #f0773a } .engset-server { fill: #f5b27a } .other { fill: #6e7681 }
}";

/// The chart as an SVG file.
pub(super) fn svg(report: &Report) -> String {
    let scale = Scale::of(report);
    let (mut body, mut heights) = (String::new(), [HEAD; COLUMNS]);
    for job in report.jobs() {
        // Into the column that is shorter.
        let column = if heights[1] < heights[0] { 1 } else { 0 };
        let bars: Vec<_> = report.of(job.name).map(|row| (row, (job.bar)(row.median))).collect();
        let ordered = in_order(report, bars);
        panel(&mut body, (column as f64 * PANEL, heights[column]), job, &ordered, &scale);
        heights[column] += TITLE + ROW * ordered.len() as f64 + 22.0;
    }
    let height = heights.into_iter().fold(HEAD, f64::max);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"engset and other runtimes\">\n<style>\n{STYLE}\n</style>\n\
         <text class=\"title\" x=\"8\" y=\"18\">Engset and other runtimes on the same jobs</text>\n\
         <text class=\"note\" x=\"8\" y=\"34\">Longer is better; logarithmic scale. Medians of {} alternating runs on {}.\
         </text>\n{body}</svg>\n",
        report.rounds,
        escaped(&report.machine),
    )
}

/// As the contenders are listed.
fn in_order<'a>(report: &Report, bars: Vec<(&'a Row, f64)>) -> Vec<(&'a Row, f64)> {
    let place = |row: &Row| report.contenders.iter().position(|it| it.name == row.contender);
    let mut bars = bars;
    bars.sort_by_key(|(row, _)| place(row));
    bars
}

/// The powers of ten between which all bars end.
struct Scale {
    least: i32,
    most: i32,
}

impl Scale {
    fn of(report: &Report) -> Self {
        let bars = report.jobs().flat_map(|job| report.of(job.name).map(|row| (job.bar)(row.median).log10()));
        let (least, most) =
            bars.fold((f64::MAX, f64::MIN), |(least, most), it| (least.min(it), most.max(it)));
        // Something to see, even of the shortest.
        let least = (least - 0.2).floor() as i32;
        Scale { least, most: (most.ceil() as i32).max(least + 1) }
    }

    fn length(&self, value: f64) -> f64 {
        BAR * (value.log10() - f64::from(self.least)) / f64::from(self.most - self.least)
    }
}

fn panel(body: &mut String, (x, y): (f64, f64), job: &Job, bars: &[(&Row, f64)], scale: &Scale) {
    let (left, top, bottom) = (x + LABEL, y + TITLE, y + TITLE + ROW * bars.len() as f64);
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "<text class=\"title\" x=\"{}\" y=\"{}\">{}<tspan class=\"note\" dx=\"8\" font-weight=\"400\" \
         font-size=\"11\">{}</tspan></text>",
        x + 8.0,
        y + 18.0,
        escaped(job.name),
        escaped(job.counts),
    );
    for power in scale.least..=scale.most {
        let at = left + scale.length(10_f64.powi(power));
        let _ = writeln!(body, "<path class=\"grid\" d=\"M{at:.1} {top}V{bottom}\"/>");
        let label = short(10_f64.powi(power)).replace(".00", "").replace(".0", "").replace(' ', "");
        let _ = writeln!(
            body,
            "<text class=\"axis\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            bottom + 10.0
        );
    }
    for (place, (row, value)) in bars.iter().enumerate() {
        let (y, length) = (top + ROW * place as f64, scale.length(*value));
        let class = if row.contender.starts_with("engset") { row.contender.as_str() } else { "other" };
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" x=\"{left}\" y=\"{}\" \
             width=\"{length:.1}\" height=\"{}\" rx=\"1.5\"/><text x=\"{:.1}\" y=\"{}\">{}</text>",
            left - 6.0,
            y + 11.0,
            escaped(&row.contender),
            y + 2.0,
            ROW - 4.0,
            left + length + 5.0,
            y + 11.0,
            short(*value),
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{job::JOBS, report::Version};

    #[test]
    fn a_longer_bar_is_better() {
        let job = JOBS.iter().find(|job| job.name == "call").expect("there is one");
        let mut report = Report::new(1, &[]);
        for (name, nanoseconds) in [("engset", 100.0), ("go", 1000.0)] {
            report.contenders.push(Version { name: name.to_owned(), version: String::new() });
            report.rows.extend(Row::new(job, name, "ns", vec![nanoseconds]));
        }
        let scale = Scale::of(&report);
        assert!(scale.length(1e7) > scale.length(1e6) && scale.length(1e6) > 0.0 && scale.length(1e7) <= BAR);
        let svg = svg(&report);
        assert!(svg.contains(">10.0 M</text>") && svg.contains(">1.00 M</text>"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 2);
    }
}

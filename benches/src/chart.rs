//! Charts: bars with the median, and a line from the smallest to the largest. One SVG file a part.
//!
//! Text and lines have two colours, for a light page and for a dark one: a rule in the picture changes them as
//! the reader's system says. The bars' colours are readable on both.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::results::{Part, Row, number};
use crate::spread::{Spread, grouped};

/// Left of the bars, at least, in pixels; names stand there.
const NAMES: i32 = 120;
/// A letter of a name, generously: readers have other fonts than whoever draws.
const LETTER: f64 = 8.2;
/// The longest bar.
const BARS: i32 = 420;
/// Right of the bars, for their numbers.
const NUMBERS: i32 = 120;
const TOP: i32 = 44;
const BAR: i32 = 15;
const GAP: i32 = 7;
/// What the axis leaves below the smallest bar, as a factor: so that it is a bar.
const BELOW: f64 = 0.5;

const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const GRID: RGBColor = RGBColor(0xd1, 0xd9, 0xe0);
/// On a dark page.
const DARK: &str = "<style>@media (prefers-color-scheme: dark) {\
     [fill=\"#1F2328\"] { fill: #e6edf3 } [stroke=\"#1F2328\"] { stroke: #e6edf3 } \
     [stroke=\"#D1D9E0\"] { stroke: #3d444d } }</style>\n";

/// What a chart shows of a row: one bar.
struct Bar {
    name: String,
    spread: Spread,
    color: RGBColor,
}

/// What a chart shows.
struct Picture {
    title: String,
    bars: Vec<Bar>,
    /// Digits of the numbers behind the point.
    digits: usize,
}

/// Whether there is a chart of this part.
pub(crate) fn has_one(part: &Part) -> bool {
    picture(part).is_some()
}

/// The chart of a part as SVG; none where it has nothing to show as bars.
pub(crate) fn svg(part: &Part) -> Result<Option<String>> {
    picture(part).map(|picture| draw(&picture)).transpose()
}

fn picture(part: &Part) -> Option<Picture> {
    let percentiles = part.rows.iter().any(|row| !row.number(number::P50).is_empty());
    let (title, bars): (String, Vec<Bar>) = if percentiles {
        let bars = part.rows.iter().flat_map(|row| {
            [(number::P50, "p50"), (number::P99, "p99"), (number::P999, "p99.9")].into_iter().filter_map(
                move |(name, short)| {
                    let spread = row.spread(name)?;
                    Some(Bar {
                        name: format!("{}: {short}", row.name),
                        spread,
                        color: percentile_color(short),
                    })
                },
            )
        });
        (format!("{}: milliseconds", part.name), bars.collect())
    } else {
        let bars = part.rows.iter().filter_map(|row| {
            let spread = row.spread(number::RATE)?;
            Some(Bar { name: row.name.clone(), spread, color: color(row) })
        });
        (format!("{}: records per second", part.name), bars.collect())
    };
    let digits = if percentiles { 1 } else { 0 };
    (!bars.is_empty()).then_some(Picture { title, bars, digits })
}

fn color(row: &Row) -> RGBColor {
    match row.traits.get("level").map(String::as_str) {
        Some("wasm") => RGBColor(0x1f, 0x7a, 0xe0),
        Some("native") => RGBColor(0x6c, 0xa9, 0xe8),
        Some("raw" | "copy" | "tokio") => RGBColor(0x8b, 0x94, 0x9e),
        _ => RGBColor(0xd9, 0x82, 0x2b),
    }
}

fn percentile_color(short: &str) -> RGBColor {
    match short {
        "p50" => RGBColor(0x6c, 0xa9, 0xe8),
        "p99" => RGBColor(0x1f, 0x7a, 0xe0),
        _ => RGBColor(0xd9, 0x82, 0x2b),
    }
}

fn draw(picture: &Picture) -> Result<String> {
    let failed = |error: DrawingAreaErrorKind<std::io::Error>| anyhow!("a chart cannot be drawn: {error}");
    let height = TOP + i32::try_from(picture.bars.len())? * (BAR + GAP) + 30;
    let axis = Axis::of(&picture.bars);
    let mut text = String::new();
    {
        let size = ((axis.right() + NUMBERS).unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let font = |size: f64| ("sans-serif", size).into_font();
        let style = |size: f64, horizontal: HPos| {
            TextStyle::from(font(size)).color(&INK).pos(Pos::new(horizontal, VPos::Center))
        };
        let write = |words: String, at: (i32, i32), style: TextStyle<'static>| {
            area.draw(&Text::new(words, at, style))
                .map_err(|error| anyhow!("a chart cannot be drawn: {error}"))
        };
        let scale = if axis.logarithmic { ", logarithmic" } else { "" };
        write(format!("{}{scale}", picture.title), (10, 16), style(20.0, HPos::Left))?;
        for value in axis.lines() {
            let x = axis.x(value);
            let line = PathElement::new(vec![(x, TOP - 6), (x, height - 24)], GRID);
            area.draw(&line).map_err(failed)?;
            write(short(value), (x, height - 14), style(14.0, HPos::Center))?;
        }
        for (bar, row) in picture.bars.iter().zip(0..) {
            let top = TOP + row * (BAR + GAP);
            let middle = top + BAR / 2;
            let end = axis.x(bar.spread.median);
            write(bar.name.clone(), (axis.left - 8, middle), style(15.5, HPos::Right))?;
            let filled = Rectangle::new([(axis.left, top), (end, top + BAR)], bar.color.filled());
            area.draw(&filled).map_err(failed)?;
            let (from, to) = (axis.x(bar.spread.min), axis.x(bar.spread.max));
            if to > from + 1 {
                area.draw(&PathElement::new(vec![(from, middle), (to, middle)], INK)).map_err(failed)?;
            }
            let digits = picture.digits;
            let value = bar.spread.median;
            let value =
                if digits == 0 || value >= 1_000.0 { grouped(value) } else { format!("{value:.digits$}") };
            write(value, (end.max(to) + 6, middle), style(15.5, HPos::Left))?;
        }
        area.present().map_err(failed)?;
    }
    // Behind the opening tag, before what it colours.
    let at = text.find('>').ok_or_else(|| anyhow!("the chart is no picture"))? + 1;
    text.insert_str(at, &format!("\n{DARK}"));
    Ok(text)
}

/// From values to places, by their logarithms where they lie far apart.
struct Axis {
    from: f64,
    to: f64,
    logarithmic: bool,
    /// Where bars begin.
    left: i32,
}

impl Axis {
    fn of(bars: &[Bar]) -> Self {
        let most = bars.iter().map(|bar| bar.spread.max).fold(f64::MIN_POSITIVE, f64::max);
        let least = bars.iter().map(|bar| bar.spread.min).fold(most, f64::min).max(most * 1e-9);
        let logarithmic = most > 20.0 * least;
        let letters = bars.iter().map(|bar| bar.name.chars().count()).max().unwrap_or(0);
        let left = NAMES.max((letters as f64 * LETTER) as i32 + 18);
        Self { from: if logarithmic { least * BELOW } else { 0.0 }, to: most, logarithmic, left }
    }

    /// Where the longest bar ends.
    fn right(&self) -> i32 {
        self.left + BARS
    }

    fn x(&self, value: f64) -> i32 {
        let part = if self.logarithmic {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            value / self.to
        };
        self.left + (part.clamp(0.0, 1.0) * f64::from(BARS)).round() as i32
    }

    /// Values that get a line: powers of ten, or four even steps.
    fn lines(&self) -> Vec<f64> {
        if self.logarithmic {
            let powers = (self.from.log10().ceil() as i32)..=(self.to.log10().floor() as i32);
            return powers.map(|power| 10_f64.powi(power)).collect();
        }
        let step = 10_f64.powf((self.to / 4.0).log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].map(|factor| factor * step).into_iter().find(|step| self.to / step <= 5.0);
        let step = step.unwrap_or(self.to);
        (0..=(self.to / step) as i32).map(|line| f64::from(line) * step).collect()
    }
}

/// `500k`, `2M`.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let text = format!("{value:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, rows: Vec<Row>) -> Part {
        Part { name: name.to_owned(), session: 0, took_seconds: 1.0, disk_bytes: 0, topics: Vec::new(), rows }
    }

    fn row(name: &str, level: &str, numbers: &[(&str, f64)]) -> Row {
        let mut row = Row::new(name, &[("level", level)]);
        row.push(numbers, serde_json::Value::Null);
        row
    }

    #[test]
    fn a_chart_has_a_bar_a_name_and_a_number_for_each_row_and_a_rule_for_dark_pages() {
        let rows = vec![
            row("raw, poll", "raw", &[(number::RATE, 2_330_000.0)]),
            row("Confluent <x>", "confluent", &[(number::RATE, 6_000.0)]),
        ];
        let svg = svg(&part("noop", rows)).expect("it can be drawn").expect("it has bars");
        for text in [
            "2,330,000",
            "6,000",
            "raw, poll",
            "Confluent &lt;x&gt;",
            "prefers-color-scheme: dark",
            "100k",
            "logarithmic",
        ] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.matches("<rect").count() == 2 && svg.contains("fill=\"#1F2328\""), "{svg}");
    }

    #[test]
    fn the_longest_name_has_room() {
        let name = "Confluent, batch 100, buffer 20000, unordered, uniform keys";
        let bar = |name: &str| Bar {
            name: name.to_owned(),
            spread: Spread { min: 1.0, median: 1.0, max: 1.0 },
            color: INK,
        };
        assert!(f64::from(Axis::of(&[bar("wasm"), bar(name)]).left) > name.len() as f64 * LETTER);
        assert_eq!(Axis::of(&[bar("wasm")]).left, NAMES);
    }

    #[test]
    fn percentiles_are_bars_of_their_own_and_other_numbers_none() {
        let rows = vec![row("1,000/s", "", &[(number::P50, 7.0), (number::P99, 9.5), (number::P999, 12.0)])];
        let text = svg(&part("latency", rows)).expect("it can be drawn").expect("it has bars");
        assert!(text.contains("1,000/s: p99.9") && text.contains("9.5"), "{text}");
        assert!(!has_one(&part("metadata", vec![row("x", "", &[("gaps", 1.0)])])));
    }

    #[test]
    fn lengths_follow_the_values_or_their_logarithms() {
        let bar = |value: f64| Bar {
            name: String::new(),
            spread: Spread { min: value, median: value, max: value },
            color: INK,
        };
        let even = Axis::of(&[bar(50.0), bar(100.0)]);
        let (left, right) = (even.left, even.right());
        assert_eq!((even.x(0.0), even.x(50.0), even.x(100.0)), (left, (left + right) / 2, right));
        assert_eq!(even.lines(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        let far = Axis::of(&[bar(2.0), bar(2e6)]);
        assert!(far.x(2.0) > far.left && far.x(2e6) == far.right());
        assert_eq!(far.lines(), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
        assert_eq!([short(500e3), short(2.5e6), short(20.0), short(0.5)], ["500k", "2.5M", "20", "0.5"]);
    }
}

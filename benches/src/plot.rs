//! Plots as SVG, on white, so that they can be read in a dark page too.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Spread, figure};

const WIDTH: u32 = 800;
const FONT: (&str, u32) = ("sans-serif", 17);
const TITLE: (&str, u32) = ("sans-serif", 21);
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
/// Colours that stay different for those who see few (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x00, 0x00, 0x00),
];

/// A line of a plot.
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// A bar for each row, from the top: its length is the median, and the whisker on it goes from the least to the most.
pub fn bars(path: &Path, title: &str, unit: &str, rows: &[(String, Spread)]) -> Result<()> {
    const ROW: u32 = 34;
    const WHISKER: f64 = 0.12;
    let svg = SVGBackend::new(path, (WIDTH, 106 + ROW * rows.len() as u32)).into_drawing_area();
    let names = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let most = rows.iter().map(|(_, spread)| spread.max).fold(0.0, f64::max);
    // To the right of the bars is their text.
    let (x, y) = (0.0..most * 1.25, rows.len() as f64..0.0);
    draw(path, || {
        let area = titled(&svg, title)?;
        let mut chart = ChartBuilder::on(&area)
            .margin_right(16)
            .x_label_area_size(50)
            .y_label_area_size(16 + 9 * names as u32)
            .build_cartesian_2d(x, y)?;
        let style = TextStyle::from(FONT).color(&INK);
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_labels(6)
            .x_label_formatter(&|value| axis(*value))
            .label_style(style.clone())
            .x_desc(unit)
            .draw()?;
        let left = style.pos(Pos::new(HPos::Right, VPos::Center));
        let right = style.pos(Pos::new(HPos::Left, VPos::Center));
        for (index, (name, Spread { min, median, max })) in rows.iter().enumerate() {
            let middle = index as f64 + 0.5;
            let bar = [(0.0, middle - 0.32), (*median, middle + 0.32)];
            chart.draw_series([Rectangle::new(bar, COLOURS[4].filled())])?;
            let whisker = [
                [(*min, middle), (*max, middle)],
                [(*min, middle - WHISKER), (*min, middle + WHISKER)],
                [(*max, middle - WHISKER), (*max, middle + WHISKER)],
            ];
            chart.draw_series(whisker.map(|line| PathElement::new(line, INK.stroke_width(2))))?;
            let at = |x, shift, text: String, style: &TextStyle<'static>| {
                EmptyElement::at((x, middle)) + Text::new(text, (shift, 0), style.clone())
            };
            chart.draw_series([at(*max, 8, figure(*median), &right)])?;
            // plotters has labels for places on the axis, not between them.
            let (_, row) = chart.backend_coord(&(0.0, middle));
            let (edge, _) = chart.backend_coord(&(0.0, 0.0));
            svg.draw(&Text::new(name.clone(), (edge - 8, row), left.clone()))?;
        }
        svg.present()?;
        Ok(())
    })
}

/// A line for each series; both axes begin at 0.
pub fn lines(path: &Path, title: &str, labels: [&str; 2], series: &[Series]) -> Result<()> {
    let svg = SVGBackend::new(path, (WIDTH, 420)).into_drawing_area();
    let points = || series.iter().flat_map(|series| &series.points);
    let to = |most: f64| -> Range<f64> { 0.0..if most > 0.0 { most * 1.05 } else { 1.0 } };
    let x = to(points().map(|(x, _)| *x).fold(0.0, f64::max));
    let y = to(points().map(|(_, y)| *y).fold(0.0, f64::max));
    draw(path, || {
        let area = titled(&svg, title)?;
        let mut chart = ChartBuilder::on(&area)
            .margin_left(12)
            .margin_right(24)
            .x_label_area_size(50)
            .y_label_area_size(90)
            .build_cartesian_2d(x, y)?;
        let style = TextStyle::from(FONT).color(&INK);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .x_labels(8)
            .y_labels(8)
            .x_label_formatter(&|value| axis(*value))
            .y_label_formatter(&|value| axis(*value))
            .label_style(style.clone())
            .x_desc(labels[0])
            .y_desc(labels[1])
            .draw()?;
        for (index, Series { name, points }) in series.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.85))
            .border_style(GRID)
            .label_font(style.clone())
            .draw()?;
        svg.present()?;
        Ok(())
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn titled<'a>(svg: &Area<'a>, title: &str) -> Result<Area<'a>, Box<dyn std::error::Error>> {
    svg.fill(&WHITE)?;
    let style = TextStyle::from(TITLE).color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
    svg.draw(&Text::new(title.to_owned(), (WIDTH as i32 / 2, 12), style))?;
    Ok(svg.margin(44, 8, 0, 0))
}

/// What stands at an axis: no more digits than the value has.
fn axis(value: f64) -> String {
    let text = figure(value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The folder has to be there before anything is drawn.
fn draw(path: &Path, body: impl FnOnce() -> Result<(), Box<dyn std::error::Error>>) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    // Not all of plotters' errors can go from thread to thread.
    body().map_err(|error| anyhow!("{error}")).with_context(|| format!("cannot draw {}", path.display()))
}

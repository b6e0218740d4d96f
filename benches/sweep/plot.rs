//! Draws line plots as SVG; each line is labelled at its end.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const SIZE: (u32, u32) = (860, 500);
const FONT: &str = "system-ui, sans-serif";
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const FAINT: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);
const GREY: RGBColor = RGBColor(0x77, 0x77, 0x77);
/// Colours that can also be distinguished without red-green vision (Okabe and Ito).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0x00, 0x72, 0xb2), RGBColor(0xd5, 0x5e, 0x00), RGBColor(0x00, 0x9e, 0x73), RGBColor(0xcc, 0x79, 0xa7)];

/// A line of a plot.
#[derive(Clone)]
pub(crate) struct Line {
    name: &'static str,
    points: Vec<(f64, f64)>,
    is_reference: bool,
}

impl Line {
    pub(crate) const fn new(name: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self { name, points, is_reference: false }
    }

    /// A line for comparison, which was not measured.
    pub(crate) const fn reference(name: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self { name, points, is_reference: true }
    }
}

/// A plot with two axes.
pub(crate) struct Plot {
    /// The name of the file, without its extension.
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    /// Whether the x axis and the y axis are logarithmic.
    pub(crate) log: (bool, bool),
    pub(crate) lines: Vec<Line>,
}

type Drawn = Result<(), Box<dyn Error>>;

impl Plot {
    /// Draws the plot into a file.
    pub(crate) fn draw(&self, file: &Path) -> Drawn {
        let root = SVGBackend::new(file, SIZE).into_drawing_area();
        // A white background of its own, since the dark lines would be invisible on a dark page.
        root.fill(&WHITE)?;
        let title = FontDesc::from((FONT, 19)).color(&INK);
        root.draw(&Text::new(self.title, (24, 18), title))?;
        let (x, y) = (self.x_range(), self.y_range());
        match self.log {
            (true, true) => self.draw_on(&root, x.log_scale(), y.log_scale())?,
            (true, false) => self.draw_on(&root, x.log_scale(), y)?,
            (false, true) => self.draw_on(&root, x, y.log_scale())?,
            (false, false) => self.draw_on(&root, x, y)?,
        }
        root.present()?;
        Ok(())
    }

    fn all(&self, of: fn(&(f64, f64)) -> f64) -> impl Iterator<Item = f64> {
        self.lines.iter().flat_map(move |line| line.points.iter().map(of))
    }

    fn x_range(&self) -> std::ops::Range<f64> {
        let most = self.all(|point| point.0).fold(0.0, f64::max);
        if self.log.0 { 1.0..most } else { 0.0..most }
    }

    /// Whole decades, or from zero, so that a nearly level line looks level.
    fn y_range(&self) -> std::ops::Range<f64> {
        let (least, most) =
            self.all(|point| point.1).fold((f64::MAX, 0.0_f64), |(least, most), y| (least.min(y), most.max(y)));
        if self.log.1 {
            let least = 10_f64.powf((least.log10() + 0.2).floor()).min(least / 1.5);
            return least..10_f64.powf(most.log10().ceil()).max(10.0);
        }
        0.0..(most * 1.2).max(1.5)
    }

    fn draw_on<X, Y, XC, YC>(&self, root: &DrawingArea<SVGBackend<'_>, Shift>, x: XC, y: YC) -> Drawn
    where
        XC: AsRangedCoord<CoordDescType = X, Value = f64>,
        YC: AsRangedCoord<CoordDescType = Y, Value = f64>,
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut builder = ChartBuilder::on(root);
        builder.margin_top(54).margin_right(190).margin_bottom(14).margin_left(14);
        let mut chart = builder.x_label_area_size(52).y_label_area_size(72).build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .axis_style(GREY)
            .bold_line_style(FAINT)
            .light_line_style(TRANSPARENT)
            .x_desc(self.x)
            .y_desc(self.y)
            .x_labels(8)
            .y_labels(8)
            .x_label_formatter(&|x| number(*x))
            .y_label_formatter(&|y| number(*y))
            .label_style(FontDesc::from((FONT, 14)).color(&INK))
            .axis_desc_style(FontDesc::from((FONT, 15)).color(&INK))
            .draw()?;
        let mut ends = Vec::new();
        let mut colours = COLOURS.iter().cycle();
        for line in self.lines.iter().filter(|line| !line.points.is_empty()) {
            let colour = if line.is_reference { &GREY } else { colours.next().unwrap_or(&INK) };
            let points = line.points.iter().copied();
            if line.is_reference {
                chart.draw_series(DashedLineSeries::new(points, 6, 5, colour.stroke_width(2)))?;
            } else {
                chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?;
                chart.draw_series(points.map(|point| Circle::new(point, 4, colour.filled())))?;
            }
            let end = line.points[line.points.len() - 1];
            ends.push((chart.backend_coord(&end), line.name, colour));
        }
        labels(root, ends)
    }
}

/// The distance between two labels, in pixels.
const APART: i32 = 19;

/// Draws the labels at the ends of the lines, and moves them apart where they would overlap.
fn labels(root: &DrawingArea<SVGBackend<'_>, Shift>, mut ends: Vec<((i32, i32), &str, &RGBColor)>) -> Drawn {
    ends.sort_by_key(|((_, y), ..)| *y);
    // Groups of labels that would overlap: the middle of each group, and its labels.
    let mut groups: Vec<(i32, i32)> = Vec::new();
    for ((_, y), ..) in &ends {
        let (mut middle, mut number) = (*y, 1);
        while let Some((above, others)) =
            groups.pop_if(|(above, others)| middle - *above < APART * (*others + number) / 2)
        {
            middle = (middle * number + above * others) / (number + others);
            number += others;
        }
        groups.push((middle, number));
    }
    let places = groups
        .into_iter()
        .flat_map(|(middle, number)| (0..number).map(move |n| middle + APART * (2 * n + 1 - number) / 2));
    for (place, ((x, _), name, colour)) in places.zip(ends) {
        let style = FontDesc::from((FONT, 15)).color(colour).pos(Pos::new(HPos::Left, VPos::Center));
        root.draw(&Text::new(name, (x + 12, place), style))?;
    }
    Ok(())
}

/// A number with thousands separators, and no more digits than needed.
fn number(number: f64) -> String {
    if number < 1_000.0 {
        return format!("{}", (number * 1e5).round() / 1e5);
    }
    let digits = format!("{number:.0}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

//! The statistics as a picture: what happened when, by cause, and how long after its orphan a refusal came.
//!
//! Nothing is painted behind it and every colour lies in the middle between black and white, so that it can
//! be read on a light page and on a dark one; lanes and shapes say the same as the colours.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use plotters::coord::Shift;
use plotters::coord::ranged1d::SegmentValue;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use strum::IntoEnumIterator;

use super::stats::bucket_label;
use super::words::plural;
use crate::error::{Error, ErrorCode, Result};
use crate::stats::{Bucket, Cause, Events, Summary};

const SIZE: (u32, u32) = (1000, 640);
/// How much of the height the timeline takes.
const TIMELINE: u32 = 360;
/// 4.5 : 1 on white and on black.
const INK: RGBColor = RGBColor(118, 118, 118);
const ORPHAN: RGBColor = RGBColor(176, 125, 0);
const BAR: RGBColor = RGBColor(63, 127, 191);
/// Few bars are not drawn wider than this, in pixels.
const WIDEST_BAR: i32 = 140;
const FONT: &str = "sans-serif";

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn colour(cause: Cause) -> RGBColor {
    match cause {
        Cause::OrphanRefire => RGBColor(214, 69, 65),
        Cause::CompletedToolRefire => RGBColor(200, 80, 160),
        Cause::AbortedText => RGBColor(142, 98, 214),
        Cause::EmptyAnswer => RGBColor(63, 127, 191),
        Cause::EmptyPrompt => RGBColor(0, 140, 140),
        Cause::FailedAgain => RGBColor(205, 100, 30),
        Cause::StepLimit => RGBColor(74, 142, 74),
        Cause::Unexplained => INK,
    }
}

/// An SVG document with the timeline and the histogram. Times are shown in `zone`, with the year where what is shown began
/// more than a year before `now`, in ms since the epoch.
///
/// # Errors
/// When the plotting library cannot draw.
pub fn chart(stores: &[&Events], summary: &Summary, now: i64, zone: &TimeZone) -> Result<String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let (above, below) = root.split_vertically(TIMELINE);
        let failed =
            |e: &dyn std::fmt::Display| Error::new(ErrorCode::Failed, format!("the picture could not be drawn: {e}"));
        timeline(&above, stores, summary, (now, zone)).map_err(|e| failed(&e))?;
        histogram(&below, &summary.deltas.histogram).map_err(|e| failed(&e))?;
        root.present().map_err(|e| failed(&e))?;
    }
    Ok(svg)
}

type Drawn = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn heading(area: &Area<'_>, text: &str) -> Drawn {
    let style = (FONT, 17).into_font().color(&INK).pos(Pos::new(HPos::Left, VPos::Top));
    area.draw(&Text::new(text.to_owned(), (14, 8), style)).map_err(|e| e.to_string().into())
}

fn nothing(area: &Area<'_>, text: &str) -> Drawn {
    let (w, h) = area.dim_in_pixel();
    let (x, y) = (i32::try_from(w / 2)?, i32::try_from(h / 2)?);
    let style = (FONT, 15).into_font().color(&INK).pos(Pos::new(HPos::Center, VPos::Center));
    area.draw(&Text::new(text.to_owned(), (x, y), style)).map_err(|e| e.to_string().into())
}

fn title(summary: &Summary) -> String {
    let refused = &summary.prefill_400s;
    format!(
        "{}, {} in {} (ringed: still stuck)",
        plural(summary.orphans.total, "orphan", "orphans"),
        plural(refused.total, "prefill 400", "prefill 400s"),
        plural(refused.sessions, "session", "sessions")
    )
}

/// What stands beside a lane, counted from the top.
fn lane_name(summary: &Summary, causes: &[Cause], lane: usize) -> String {
    if lane == 0 {
        return format!("orphan ({})", summary.orphans.total);
    }
    let by_cause = &summary.prefill_400s.by_cause;
    let named =
        |cause: &Cause| format!("{} ({})", cause.title(), by_cause.get(&cause.to_string()).copied().unwrap_or(0));
    causes.get(lane - 1).map_or_else(String::new, named)
}

/// When orphans and refusals were, in ms since the epoch.
fn times<'a>(stores: &'a [&Events]) -> impl Iterator<Item = i64> + 'a {
    let orphans = stores.iter().flat_map(|e| e.orphans.iter().map(|o| o.time_ms));
    orphans.chain(stores.iter().flat_map(|e| e.pairs.iter().map(|p| p.error_time_ms)))
}

fn timeline(area: &Area<'_>, stores: &[&Events], summary: &Summary, (now, zone): (i64, &TimeZone)) -> Drawn {
    let refused = &summary.prefill_400s;
    heading(area, &title(summary))?;
    let (Some(first), Some(last)) = (times(stores).min(), times(stores).max()) else {
        return nothing(area, "nothing happened in this time");
    };
    let causes: Vec<Cause> = Cause::iter().filter(|c| refused.by_cause.contains_key(&c.to_string())).collect();
    let lanes = i32::try_from(causes.len() + 1)?;
    // The orphans' lane lies on top; lanes count from the bottom.
    let lane = |cause: Option<Cause>| {
        let from_top = cause.and_then(|c| causes.iter().position(|x| *x == c)).map_or(0, |at| at + 1);
        SegmentValue::CenterOf(lanes - 1 - i32::try_from(from_top).unwrap_or(0))
    };
    let name = |segment: &SegmentValue<i32>| match segment {
        SegmentValue::CenterOf(at) | SegmentValue::Exact(at) => {
            usize::try_from(lanes - 1 - at).map_or_else(|_| String::new(), |lane| lane_name(summary, &causes, lane))
        }
        SegmentValue::Last => String::new(),
    };
    let margin = ((last.saturating_sub(first)) / 40).max(30_000);
    let (from, to) = (first.saturating_sub(margin), last.saturating_add(margin));
    let (ticks, format) = ticks(from, to, now, zone);
    let label = |ms: &i64| {
        Timestamp::from_millisecond(*ms)
            .map_or_else(|_| String::new(), |t| t.to_zoned(zone.clone()).strftime(format).to_string())
    };
    let axis = (from..to).with_key_points(ticks);
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_top(36)
        .x_label_area_size(34)
        .y_label_area_size(210)
        .build_cartesian_2d(axis, (0..lanes - 1).into_segmented())
        .map_err(|e| e.to_string())?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.3))
        .light_line_style(TRANSPARENT)
        .label_style((FONT, 14).into_font().color(&INK))
        .y_labels(causes.len() + 1)
        .x_label_formatter(&label)
        .y_label_formatter(&name)
        .draw()
        .map_err(|e| e.to_string())?;
    for o in stores.iter().flat_map(|e| &e.orphans) {
        let mark = TriangleMarker::new((o.time_ms, lane(None)), 5, ORPHAN.mix(0.75).filled());
        chart.draw_series(std::iter::once(mark)).map_err(|e| e.to_string())?;
    }
    for p in stores.iter().flat_map(|e| &e.pairs) {
        let at = (p.error_time_ms, lane(Some(p.cause)));
        let mark = Circle::new(at.clone(), 5, colour(p.cause).mix(0.85).filled());
        chart.draw_series(std::iter::once(mark)).map_err(|e| e.to_string())?;
        if p.still_stuck {
            let ring = Circle::new(at, 9, colour(p.cause).stroke_width(2));
            chart.draw_series(std::iter::once(ring)).map_err(|e| e.to_string())?;
        }
    }
    Ok(())
}

fn histogram(area: &Area<'_>, buckets: &[Bucket]) -> Drawn {
    heading(area, "From an orphan to the prefill 400 after it")?;
    let most = buckets.iter().map(|b| b.count).max().unwrap_or(0);
    if most == 0 {
        return nothing(area, "no prefill 400 has an orphan before it");
    }
    // A bucket is this wide on its axis; its label and its bar stand in the middle.
    const WIDE: i32 = 1_000;
    let columns = i32::try_from(buckets.len())?;
    let middles: Vec<i32> = (0..columns).map(|at| at * WIDE + WIDE / 2).collect();
    let name = |at: &i32| {
        let of = usize::try_from(at / WIDE).ok().and_then(|at| buckets.get(at));
        of.map_or_else(String::new, bucket_label)
    };
    // Room for the number above the highest bar.
    let top = most + most.div_ceil(5);
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .margin_top(36)
        .x_label_area_size(34)
        .y_label_area_size(60)
        .build_cartesian_2d((0..columns * WIDE).with_key_points(middles.clone()), 0..top)
        .map_err(|e| e.to_string())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.3))
        .light_line_style(TRANSPARENT)
        .label_style((FONT, 14).into_font().color(&INK))
        .x_labels(buckets.len())
        .y_labels(usize::try_from(top.min(5))?)
        .x_label_formatter(&name)
        .draw()
        .map_err(|e| e.to_string())?;
    // Few bars are not as wide as they could be; many leave a fifth between them.
    let half = (WIDEST_BAR * columns * WIDE / i32::try_from(SIZE.0 - 88)?).min(WIDE * 4 / 5) / 2;
    for (middle, bucket) in middles.iter().zip(buckets).filter(|(_, b)| b.count > 0) {
        let corners = [(middle - half, 0), (middle + half, bucket.count)];
        let bar = Rectangle::new(corners, BAR.mix(0.85).filled());
        chart.draw_series(std::iter::once(bar)).map_err(|e| e.to_string())?;
        let style = (FONT, 14).into_font().color(&INK).pos(Pos::new(HPos::Center, VPos::Bottom));
        let number = Text::new(bucket.count.to_string(), (*middle, bucket.count), style);
        chart.draw_series(std::iter::once(number)).map_err(|e| e.to_string())?;
    }
    Ok(())
}

/// The most ticks that an axis of time gets.
const MOST_TICKS: i64 = 8;
/// A year in ms.
const YEAR: i64 = 365 * 86_400_000;

/// Where an axis from `from` to `to` (ms since the epoch) has its ticks, at round local times, and how these
/// are written: with the year where that is not told by the day.
fn ticks(from: i64, to: i64, now: i64, zone: &TimeZone) -> (Vec<i64>, &'static str) {
    const MINUTES: [i64; 9] = [1, 5, 15, 30, 60, 120, 180, 360, 720];
    const DAYS: [i64; 11] = [1, 2, 4, 7, 14, 28, 60, 120, 365, 1_460, 7_300];
    let span = to.saturating_sub(from);
    let Ok(first) = Timestamp::from_millisecond(from) else {
        return (Vec::new(), "");
    };
    let Ok(mut at) = first.to_zoned(zone.clone()).start_of_day() else {
        return (Vec::new(), "");
    };
    let minutes = MINUTES.iter().copied().find(|m| span / (m * 60_000) < MOST_TICKS);
    let days = DAYS.iter().copied().find(|d| span / (d * 86_400_000) < MOST_TICKS).unwrap_or(DAYS[DAYS.len() - 1]);
    let next = |at: &Zoned| match minutes {
        Some(minutes) => at.checked_add(minutes.minutes()).ok(),
        None => at.checked_add(days.days()).ok(),
    };
    let mut out = Vec::new();
    while at.timestamp().as_millisecond() <= to {
        let ms = at.timestamp().as_millisecond();
        if ms >= from {
            out.push(ms);
        }
        match next(&at) {
            Some(later) => at = later,
            None => break,
        }
    }
    let format = match (minutes, now.saturating_sub(from) > YEAR) {
        (Some(_), false) => "%-d %b %H:%M",
        (Some(_), true) => "%-d %b %Y %H:%M",
        (None, false) if days < 60 => "%-d %b",
        (None, _) => "%-d %b %Y",
    };
    (out, format)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use plotters::prelude::{IntoDrawingArea, SVGBackend};

    use super::{histogram, ticks};
    use crate::stats::Bucket;

    /// Numbers of an attribute, of every element of that name.
    fn numbers(svg: &str, tag: &str, name: &str) -> Vec<f64> {
        let document = roxmltree::Document::parse(svg).unwrap();
        let of = document.descendants().filter(|n| n.has_tag_name(tag));
        of.filter_map(|n| n.attribute(name)).map(|n| n.parse().unwrap()).collect()
    }

    #[test]
    fn bars_stand_over_their_labels_however_many_there_are() {
        for n in [1_usize, 2, 5, 10] {
            let bucket =
                |at: usize| Bucket { from_ms: Some(at as i64 * 10), to_ms: Some(at as i64 * 10 + 10), count: 3 };
            let buckets: Vec<Bucket> = (0..n).map(bucket).collect();
            let mut svg = String::new();
            histogram(&SVGBackend::with_string(&mut svg, (1_000, 280)).into_drawing_area(), &buckets).unwrap();
            let (left, wide) = (numbers(&svg, "rect", "x"), numbers(&svg, "rect", "width"));
            assert_eq!(left.len(), n, "{svg}");
            let document = roxmltree::Document::parse(&svg).unwrap();
            let labels = document.descendants().filter(|t| t.text().is_some_and(|t| t.contains("ms")));
            let labels: Vec<f64> = labels.filter_map(|t| t.attribute("x")).map(|x| x.parse().unwrap()).collect();
            assert_eq!(labels.len(), n, "{svg}");
            for ((left, wide), label) in left.iter().zip(wide).zip(labels) {
                assert!((left + wide / 2.0 - label).abs() < 3.0 && wide > 20.0, "{n}: {left} {wide} {label}");
            }
        }
    }

    #[test]
    fn ticks_are_few_and_round() {
        let start = 1_795_251_279_474;
        for span in [60_000, 3_600_000, 86_400_000, 40 * 86_400_000, 900 * 86_400_000] {
            let (ticks, _) = ticks(start, start + span, start + span, &TimeZone::UTC);
            assert!((1..=9).contains(&ticks.len()), "{span}: {}", ticks.len());
            assert!(ticks.iter().all(|t| t % 60_000 == 0 && *t >= start && *t <= start + span));
        }
        let format = |ago: i64| ticks(start, start + 3_600_000, start + ago * 86_400_000, &TimeZone::UTC).1;
        assert_eq!((format(3), format(400)), ("%-d %b %H:%M", "%-d %b %Y %H:%M"), "a day of another year");
        assert!(ticks(i64::MAX - 5, i64::MAX, 0, &TimeZone::UTC).0.is_empty());
    }
}

//! A package of which nothing is known: it is taken to keep everything, with every piece of its metadata.
//!
//! That is a guess. What it says counts only where every package that was measured says the same.

use crate::replay::package::{Ask, Out, Package, Said, all_inside, no_media, sort};
use crate::replay::turn::Carried;

pub(super) const OTHER: Package = Package {
    name: "",
    namespace: "",
    takes_interleaved: true,
    details_once: false,
    takes_media: no_media,
    assistant,
    takes_file: |_, _| true,
    inside: all_inside,
    chats: true,
    measured: None,
};

fn assistant<'a>(_: &Ask<'_>, mut said: Said<'a>, out: &mut Out<'a>) {
    let (blocks, left_out) = sort(&mut said, |said, block| {
        block.carries = said.metadata(block).as_deref().unwrap_or_default().iter().map(Carried::from).collect();
        true
    });
    out.give_whole(&said, blocks, left_out);
}

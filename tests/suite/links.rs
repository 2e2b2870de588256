//! Every link of the documents leads somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "fixtures/stores/README.md"]
        .map(|page| root().join(page))
        .to_vec();
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    pages.extend(docs.filter(|path| path.extension().is_some_and(|e| e == "md")));
    pages
}

/// Where a page links to, and the anchors of its headings: lower case, words joined by hyphens, nothing else kept.
fn links_and_anchors(page: &Path) -> (Vec<String>, BTreeSet<String>) {
    let text = fs::read_to_string(page).unwrap();
    let (mut links, mut anchors, mut heading) = (Vec::new(), BTreeSet::new(), None);
    for event in Parser::new(&text) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => links.push(dest_url.to_string()),
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(words) | Event::Code(words) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&words);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
                let anchor: String = heading.take().unwrap().to_lowercase().chars().filter(kept).collect();
                anchors.insert(anchor.replace(' ', "-"));
            }
            _ => {}
        }
    }
    (links, anchors)
}

#[test]
fn every_link_leads_somewhere() {
    let mut dead = Vec::new();
    for page in pages() {
        for link in links_and_anchors(&page).0.into_iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            if !target.exists() || !anchor.is_empty() && !links_and_anchors(&target).1.contains(anchor) {
                dead.push(format!("{}: {link}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(dead.is_empty(), "links to nothing: {dead:#?}");
}

#[test]
fn the_index_of_the_documents_names_every_page() {
    let index = root().join("docs/README.md");
    let named: BTreeSet<PathBuf> =
        links_and_anchors(&index).0.iter().map(|link| index.with_file_name(link.split('#').next().unwrap())).collect();
    let all = pages().into_iter().filter(|page| page.parent() == index.parent() && *page != index);
    let missing: Vec<PathBuf> = all.filter(|page| !named.contains(page)).collect();
    assert!(missing.is_empty(), "docs/README.md does not name {missing:#?}");
}

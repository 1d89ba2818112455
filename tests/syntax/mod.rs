//! The source files of the crate as syntax: which file defines what, and which file names what of which other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

/// The parsed crate. Test code is left out.
pub(super) struct Crate {
    /// All modules by path; the crate's root has none.
    modules: BTreeMap<Vec<String>, Module>,
    /// All files, relative to `src`, each with its text.
    pub(super) files: BTreeMap<String, String>,
    /// The types that are declared `pub` in any form.
    pub(super) public_types: Vec<PublicType>,
}

/// A module with what its names stand for.
#[derive(Default)]
struct Module {
    file: String,
    /// What a name stands for: a module and a function may share one.
    names: BTreeMap<String, Vec<Name>>,
    globs: Vec<Vec<String>>,
    /// Paths that its code names, but for those that it only re-exports.
    paths: BTreeSet<Vec<String>>,
    string_errors: Vec<String>,
}

#[derive(Clone)]
enum Name {
    /// An item that is defined here.
    Item,
    Module,
    /// An import, or a re-export.
    Import(Vec<String>),
}

/// A type that is visible outside of its file.
pub(super) struct PublicType {
    pub(super) name: String,
    pub(super) file: String,
}

impl Crate {
    /// Reads `src`.
    pub(super) fn read() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = BTreeMap::new();
        for path in files_below(&source) {
            let name = path.strip_prefix(&source).expect("a file of src").to_string_lossy().into_owned();
            files.insert(name, fs::read_to_string(&path).expect("a source file is text"));
        }
        let mut found = Self { modules: BTreeMap::new(), files, public_types: Vec::new() };
        found.read_module("lib.rs", &[]);
        found
    }

    fn read_module(&mut self, file: &str, path: &[String]) {
        let text = self.files.get(file).unwrap_or_else(|| panic!("src/{file} is missing"));
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("src/{file}: {error}"));
        self.read_items(file, path, &parsed.items);
    }

    fn read_items(&mut self, file: &str, path: &[String], items: &[Item]) {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        let mut children = Vec::new();
        for item in items.iter().filter(|item| !is_for_tests(attributes(item))) {
            match item {
                Item::Mod(child) => {
                    module.names.entry(child.ident.to_string()).or_default().push(Name::Module);
                    children.push(child);
                }
                Item::Use(import) => {
                    let is_public = !matches!(import.vis, Visibility::Inherited);
                    module.import(&import.tree, &mut Vec::new(), is_public);
                }
                item => {
                    if let Some((Visibility::Public(_) | Visibility::Restricted(_), name)) = type_of(item) {
                        self.public_types.push(PublicType { name: name.to_string(), file: file.to_owned() });
                    }
                    if let Some(name) = defined(item) {
                        module.names.entry(name).or_default().push(Name::Item);
                    }
                    module.visit_item(item);
                }
            }
        }
        self.modules.insert(path.to_vec(), module);
        for child in children {
            let mut inner = path.to_vec();
            inner.push(child.ident.to_string());
            if let Some((_, items)) = &child.content {
                self.read_items(file, &inner, items);
                continue;
            }
            let base = inner.join("/");
            let flat = format!("{base}.rs");
            let file = if self.files.contains_key(&flat) { flat } else { format!("{base}/mod.rs") };
            self.read_module(&file, &inner);
        }
    }

    /// The files that each file imports something from: those that define the items, whatever re-exports are on the way.
    pub(super) fn imports(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (at, module) in &self.modules {
            let files = found.entry(module.file.clone()).or_default();
            for path in &module.paths {
                files.extend(self.definition(at, path, &mut Vec::new()).filter(|file| *file != module.file));
            }
        }
        found
    }

    /// Every path that a file names, with imports written out in full.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&str, Vec<String>)> {
        self.modules.values().flat_map(|module| {
            module.paths.iter().map(|path| {
                let mut full = path.clone();
                if let Some([Name::Import(import)]) = module.names.get(&path[0]).map(Vec::as_slice) {
                    full.splice(..1, import.clone());
                }
                (module.file.as_str(), full)
            })
        })
    }

    /// Whether a path from the crate's root names a module or an item.
    pub(super) fn has(&self, path: &str) -> bool {
        let path: Vec<_> = path.split("::").map(str::to_owned).collect();
        self.modules.contains_key(&path) || self.definition(&[], &path, &mut Vec::new()).is_some()
    }

    /// Every place that has a `Result<_, String>`, tests left out.
    pub(super) fn string_errors(&self) -> Vec<String> {
        self.modules.values().flat_map(|module| &module.string_errors).cloned().collect()
    }

    /// The file that defines what a path stands for in a module.
    fn definition(&self, at: &[String], path: &[String], open: &mut Vec<(Vec<String>, String)>) -> Option<String> {
        let (mut at, mut path) = (at.to_vec(), path);
        while let Some(name @ ("crate" | "self" | "super")) = path.first().map(String::as_str) {
            match name {
                "crate" => at.clear(),
                "super" => drop(at.pop()),
                _ => {}
            }
            path = &path[1..];
        }
        let module = self.modules.get(&at)?;
        let (name, rest) = path.split_first()?;
        let mut through = |import: &[String], rest: &[String]| {
            let key = (at.clone(), format!("{}::{name}", import.join("::")));
            if open.contains(&key) {
                return None;
            }
            open.push(key);
            self.definition(&at, &[import, rest].concat(), open)
        };
        let mut candidates = module.names.get(name).into_iter().flatten();
        let named = candidates.find_map(|found| match found {
            Name::Item => Some(module.file.clone()),
            // A module by itself is no item.
            Name::Module if rest.is_empty() => None,
            Name::Module => self.definition(&[&at[..], std::slice::from_ref(name)].concat(), rest, &mut Vec::new()),
            Name::Import(import) => through(import, rest),
        });
        named.or_else(|| module.globs.iter().find_map(|glob| through(glob, path)))
    }
}

impl Module {
    fn import(&mut self, tree: &UseTree, prefix: &mut Vec<String>, is_public: bool) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.import(&path.tree, prefix, is_public);
                prefix.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, prefix, is_public)),
            UseTree::Glob(_) => self.globs.push(prefix.clone()),
            UseTree::Name(name) => self.name(name.ident.to_string(), name.ident.to_string(), prefix, is_public),
            UseTree::Rename(name) => self.name(name.ident.to_string(), name.rename.to_string(), prefix, is_public),
        }
    }

    fn name(&mut self, name: String, alias: String, prefix: &[String], is_public: bool) {
        let (path, alias) = match name.as_str() {
            "self" => {
                (prefix.to_vec(), if alias == "self" { prefix.last().cloned().unwrap_or_default() } else { alias })
            }
            _ => (prefix.iter().cloned().chain([name]).collect(), alias),
        };
        if !is_public {
            self.paths.insert(path.clone());
        }
        self.names.entry(alias).or_default().push(Name::Import(path));
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes: &[Attribute] = match item {
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Const(item) => &item.attrs,
            _ => &[],
        };
        if !is_for_tests(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&item.tree, &mut Vec::new(), false);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.paths.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        if path.segments.last().is_some_and(is_result_of_string) {
            self.string_errors.push(format!("src/{}", self.file));
        }
        visit::visit_path(self, path);
    }

    /// The arguments of a macro are no syntax yet: of them only paths are read.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        visit::visit_macro(self, call);
        self.read_tokens(call.tokens.clone());
    }
}

impl Module {
    fn read_tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut colons) = (Vec::new(), 0);
        for token in tokens {
            match token {
                TokenTree::Ident(name) if colons == 2 || path.is_empty() => {
                    path.push(name.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() && colons < 2 => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => self.read_tokens(group.stream()),
                TokenTree::Ident(name) => {
                    self.paths.insert(std::mem::replace(&mut path, vec![name.to_string()]));
                    colons = 0;
                    continue;
                }
                _ => {}
            }
            if !path.is_empty() {
                self.paths.insert(std::mem::take(&mut path));
            }
            colons = 0;
        }
        if !path.is_empty() {
            self.paths.insert(path);
        }
    }
}

/// The visibility and the name of a type.
fn type_of(item: &Item) -> Option<(&Visibility, &syn::Ident)> {
    match item {
        Item::Struct(item) => Some((&item.vis, &item.ident)),
        Item::Enum(item) => Some((&item.vis, &item.ident)),
        Item::Trait(item) => Some((&item.vis, &item.ident)),
        Item::Type(item) => Some((&item.vis, &item.ident)),
        _ => None,
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

fn is_result_of_string(segment: &syn::PathSegment) -> bool {
    let syn::PathArguments::AngleBracketed(arguments) = &segment.arguments else { return false };
    let is_string = |argument: &syn::GenericArgument| matches!(argument, syn::GenericArgument::Type(syn::Type::Path(found)) if found.path.is_ident("String"));
    segment.ident == "Result" && arguments.args.iter().nth(1).is_some_and(is_string)
}

fn defined(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(item) => item.ident.to_string(),
        Item::Enum(item) => item.ident.to_string(),
        Item::Fn(item) => item.sig.ident.to_string(),
        Item::Macro(item) => item.ident.as_ref()?.to_string(),
        Item::Static(item) => item.ident.to_string(),
        Item::Struct(item) => item.ident.to_string(),
        Item::Trait(item) => item.ident.to_string(),
        Item::Type(item) => item.ident.to_string(),
        _ => return None,
    })
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

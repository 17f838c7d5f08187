//! The rewriting of items: where charges are put, and what is left alone.

use crate::options::Options;
use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote};
use std::mem::{replace, take};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{
    AttrStyle, Attribute, Block, Error, Expr, ExprBlock, Item, Result, Signature, Stmt, parse_quote_spanned,
};

/// The whole attribute: the rewritten item, or the item as it was behind a compile error, so that the rest of
/// the program still finds it.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    match rewrite(options, item.clone()) {
        Ok(rewritten) => rewritten,
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#error #item)
        }
    }
}

fn rewrite(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options: Options = syn::parse2(options)?;
    let mut item: Item = syn::parse2(item)?;
    let mut instrument =
        Instrument { options: &options, counting: false, in_const_fn: false, const_loop: false, error: None };
    let attrs = match &item {
        Item::Fn(function) => {
            if let Some(constness) = &function.sig.constness {
                return Err(Error::new(constness.span(), CONST_FN));
            }
            &function.attrs
        }
        Item::Impl(block) => &block.attrs,
        Item::Trait(block) => &block.attrs,
        Item::Mod(module) if module.content.is_some() => &module.attrs,
        other => return Err(Error::new(Span::call_site(), misplaced(other))),
    };
    if let Some(second) = attrs.iter().find(|attr| is_preemptible(attr)) {
        return Err(Error::new_spanned(second, "`#[preemptible]` is given twice; put all options in one"));
    }
    instrument.visit_item_mut(&mut item);
    match instrument.error {
        Some(error) => Err(error),
        None => Ok(item.into_token_stream()),
    }
}

const CONST_FN: &str = "`const fn` cannot be preemptible: reduction calls are not const; \
    remove `const` or `#[preemptible]`";
const CONST_FN_WITH_LOOP: &str = "`const fn` cannot be preemptible: reduction calls are not const, \
    and this one contains a loop; remove `const` or move it out of the item marked `#[preemptible]`";

fn misplaced(item: &Item) -> String {
    let what = match item {
        Item::Const(_) => "a const item",
        Item::Enum(_) => "an enum",
        Item::ExternCrate(_) => "an extern crate",
        Item::ForeignMod(_) => "an extern block",
        Item::Macro(_) => "a macro",
        Item::Mod(_) => "a module in another file",
        Item::Static(_) => "a static item",
        Item::Struct(_) => "a struct",
        Item::TraitAlias(_) => "a trait alias",
        Item::Type(_) => "a type alias",
        Item::Union(_) => "a union",
        Item::Use(_) => "a use declaration",
        _ => "this item",
    };
    format!(
        "`#[preemptible]` goes on a function with a body, an `impl` or `trait` block, or an inline \
         `mod name {{ ... }}`, not on {what}"
    )
}

/// Whether `attr` is this attribute, under whatever path.
fn is_preemptible(attr: &Attribute) -> bool {
    attr.path().segments.last().is_some_and(|last| last.ident == "preemptible")
}

/// Whether an inner item has an attribute of its own, and so is not to be charged by this one.
fn is_marked(attrs: &[Attribute]) -> bool {
    attrs.iter().any(is_preemptible)
}

struct Instrument<'a> {
    options: &'a Options,
    /// Within a loop that has a counter in scope; only with a stride.
    counting: bool,
    /// Directly in a `const fn`, where nothing can be charged.
    in_const_fn: bool,
    /// A loop was seen directly in the current `const fn`.
    const_loop: bool,
    error: Option<Error>,
}

impl Instrument<'_> {
    fn function(&mut self, attrs: &[Attribute], sig: &Signature, body: &mut Block) {
        if is_marked(attrs) {
            return;
        }
        let counting = replace(&mut self.counting, false);
        let in_const_fn = replace(&mut self.in_const_fn, sig.constness.is_some());
        let const_loop = replace(&mut self.const_loop, false);
        self.visit_block_mut(body);
        match &sig.constness {
            None => prepend(body, vec![self.charge(self.options.cost, sig.fn_token.span)]),
            Some(constness) if self.const_loop => {
                let error = Error::new(constness.span(), CONST_FN_WITH_LOOP);
                match &mut self.error {
                    Some(errors) => errors.combine(error),
                    None => self.error = Some(error),
                }
            }
            Some(_) => {}
        }
        self.counting = counting;
        self.in_const_fn = in_const_fn;
        self.const_loop = const_loop;
    }

    /// Visits code whose locals are not those of the code around it: a closure or an async block.
    fn apart(&mut self, visit: impl FnOnce(&mut Self)) {
        let counting = replace(&mut self.counting, false);
        visit(self);
        self.counting = counting;
    }

    fn loop_expr(&mut self, expr: &mut Expr) {
        if self.in_const_fn {
            self.const_loop = true;
            return visit_mut::visit_expr_mut(self, expr);
        }
        let strided = self.options.stride > 1;
        let outermost = strided && !replace(&mut self.counting, strided);
        visit_mut::visit_expr_mut(self, expr);
        let (attrs, body, span) = match expr {
            Expr::ForLoop(each) => (&mut each.attrs, &mut each.body, each.for_token.span),
            Expr::While(each) => (&mut each.attrs, &mut each.body, each.while_token.span),
            Expr::Loop(each) => (&mut each.attrs, &mut each.body, each.loop_token.span),
            _ => return,
        };
        prepend(body, self.iteration(span));
        if outermost {
            self.counting = false;
            // On the loop, inside of the block, attributes would be in the position of an expression, where
            // the language does not have them yet; on the block they are where they were.
            let (outer, inner) =
                take(attrs).into_iter().partition(|attr| matches!(attr.style, AttrStyle::Outer));
            *attrs = inner;
            let counter = counter(span);
            let counted = replace(expr, Expr::Verbatim(TokenStream::new()));
            let span = generated(span);
            let mut block: Block = parse_quote_spanned!(span=> { let mut #counter: u32 = 0; });
            block.stmts.push(Stmt::Expr(counted, None));
            *expr = Expr::Block(ExprBlock { attrs: outer, label: None, block });
        }
    }

    /// The statements at the start of an iteration.
    fn iteration(&self, span: Span) -> Vec<Stmt> {
        let charge = self.charge(self.options.strip_cost(), span);
        if self.options.stride == 1 {
            return vec![charge];
        }
        let (counter, stride, span) = (counter(span), self.options.stride, generated(span));
        let stride = proc_macro2::Literal::u32_unsuffixed(stride);
        vec![
            parse_quote_spanned!(span=> #counter += 1;),
            parse_quote_spanned!(span=> if #counter >= #stride { #counter = 0; #charge }),
        ]
    }

    fn charge(&self, units: u32, span: Span) -> Stmt {
        let runtime = &self.options.runtime;
        let units = proc_macro2::Literal::u32_unsuffixed(units);
        parse_quote_spanned!(generated(span)=> #runtime::reduce(#units);)
    }
}

/// The span of generated code: names of locals do not meet those of the user, and backtraces point at `at`.
fn generated(at: Span) -> Span {
    Span::mixed_site().located_at(at)
}

fn counter(at: Span) -> Ident {
    Ident::new("__engset_n", generated(at))
}

/// Puts statements at the start of a block, behind the items that it may start with: items do not run, and
/// lints want them first.
fn prepend(block: &mut Block, statements: Vec<Stmt>) {
    let items = block.stmts.iter().take_while(|stmt| matches!(stmt, Stmt::Item(_))).count();
    block.stmts.splice(items..items, statements);
}

impl VisitMut for Instrument<'_> {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        match expr {
            Expr::ForLoop(_) | Expr::While(_) | Expr::Loop(_) => self.loop_expr(expr),
            _ => visit_mut::visit_expr_mut(self, expr),
        }
    }

    fn visit_expr_closure_mut(&mut self, closure: &mut syn::ExprClosure) {
        if closure.constness.is_none() {
            self.apart(|this| visit_mut::visit_expr_closure_mut(this, closure));
        }
    }

    fn visit_expr_async_mut(&mut self, block: &mut syn::ExprAsync) {
        self.apart(|this| visit_mut::visit_expr_async_mut(this, block));
    }

    fn visit_item_fn_mut(&mut self, function: &mut syn::ItemFn) {
        self.function(&function.attrs, &function.sig, &mut function.block);
    }

    fn visit_impl_item_fn_mut(&mut self, method: &mut syn::ImplItemFn) {
        self.function(&method.attrs, &method.sig, &mut method.block);
    }

    fn visit_trait_item_fn_mut(&mut self, method: &mut syn::TraitItemFn) {
        if let Some(body) = &mut method.default {
            self.function(&method.attrs, &method.sig, body);
        }
    }

    fn visit_item_impl_mut(&mut self, block: &mut syn::ItemImpl) {
        if !is_marked(&block.attrs) {
            visit_mut::visit_item_impl_mut(self, block);
        }
    }

    fn visit_item_trait_mut(&mut self, block: &mut syn::ItemTrait) {
        if !is_marked(&block.attrs) {
            visit_mut::visit_item_trait_mut(self, block);
        }
    }

    fn visit_item_mod_mut(&mut self, module: &mut syn::ItemMod) {
        if !is_marked(&module.attrs) {
            visit_mut::visit_item_mod_mut(self, module);
        }
    }

    // What follows is evaluated at compile time, or not at all.

    fn visit_attribute_mut(&mut self, _: &mut Attribute) {}

    fn visit_type_mut(&mut self, _: &mut syn::Type) {}

    fn visit_generics_mut(&mut self, _: &mut syn::Generics) {}

    fn visit_generic_argument_mut(&mut self, _: &mut syn::GenericArgument) {}

    fn visit_item_const_mut(&mut self, _: &mut syn::ItemConst) {}

    fn visit_item_static_mut(&mut self, _: &mut syn::ItemStatic) {}

    fn visit_item_enum_mut(&mut self, _: &mut syn::ItemEnum) {}

    fn visit_impl_item_const_mut(&mut self, _: &mut syn::ImplItemConst) {}

    fn visit_trait_item_const_mut(&mut self, _: &mut syn::TraitItemConst) {}

    fn visit_expr_const_mut(&mut self, _: &mut syn::ExprConst) {}

    fn visit_expr_repeat_mut(&mut self, repeat: &mut syn::ExprRepeat) {
        self.visit_expr_mut(&mut repeat.expr);
    }
}

#[cfg(test)]
mod tests;

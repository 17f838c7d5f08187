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
mod tests {
    use super::*;

    #[track_caller]
    fn check(options: TokenStream, item: TokenStream, expected: TokenStream) {
        assert_eq!(expand(options, item).to_string(), expected.to_string());
    }

    #[track_caller]
    fn unchanged(item: TokenStream) {
        check(quote!(), item.clone(), item);
    }

    /// Refused with this message, and the item still there.
    #[track_caller]
    fn refused(options: TokenStream, item: TokenStream, message: &str) {
        let expanded = expand(options, item.clone()).to_string();
        assert!(expanded.contains("compile_error"), "{expanded}");
        assert!(expanded.contains(message), "{expanded}");
        assert!(expanded.ends_with(&item.to_string()), "{expanded}");
    }

    #[test]
    fn entry_and_loops() {
        check(
            quote!(),
            quote! {
                fn f() -> u32 {
                    for x in 0..3 { g(x); }
                    while c() { g(0); }
                    while let Some(x) = next() { g(x); }
                    'a: loop { break 'a 7; }
                }
            },
            quote! {
                fn f() -> u32 {
                    ::engset::reduce(1);
                    for x in 0..3 { ::engset::reduce(1); g(x); }
                    while c() { ::engset::reduce(1); g(0); }
                    while let Some(x) = next() { ::engset::reduce(1); g(x); }
                    'a: loop { ::engset::reduce(1); break 'a 7; }
                }
            },
        );
    }

    #[test]
    fn cost_and_crate() {
        check(
            quote!(cost = 8, crate = crate::rt),
            quote!(
                fn f() {
                    loop {}
                }
            ),
            quote!(
                fn f() {
                    crate::rt::reduce(8);
                    loop {
                        crate::rt::reduce(8);
                    }
                }
            ),
        );
    }

    #[test]
    fn stride_has_one_counter_per_nest() {
        check(
            quote!(stride = 4, cost = 2),
            quote! {
                fn f() -> u32 {
                    'a: loop { for x in y { break 'a x; } }
                }
            },
            quote! {
                fn f() -> u32 {
                    ::engset::reduce(2);
                    {
                        let mut __engset_n: u32 = 0;
                        'a: loop {
                            __engset_n += 1;
                            if __engset_n >= 4 { __engset_n = 0; ::engset::reduce(8); }
                            for x in y {
                                __engset_n += 1;
                                if __engset_n >= 4 { __engset_n = 0; ::engset::reduce(8); }
                                break 'a x;
                            }
                        }
                    }
                }
            },
        );
    }

    #[test]
    fn stride_counts_apart_in_closures_async_blocks_and_functions() {
        for inner in [
            quote!(|| loop {}),
            quote!(async { loop {} }),
            quote!({
                fn g() {
                    loop {}
                }
            }),
        ] {
            let expanded = expand(quote!(stride = 4), quote!(fn f() { loop { #inner; } })).to_string();
            assert_eq!(expanded.matches("let mut __engset_n").count(), 2, "{expanded}");
        }
        let after = expand(
            quote!(stride = 4),
            quote!(
                fn f() {
                    loop {}
                    for x in y {}
                }
            ),
        )
        .to_string();
        assert_eq!(after.matches("let mut __engset_n").count(), 2, "{after}");
    }

    #[test]
    fn stride_of_one_needs_no_counter() {
        let item = quote!(
            fn f() {
                loop {}
            }
        );
        check(quote!(stride = 1), item.clone(), expand(quote!(), item));
    }

    #[test]
    fn stride_keeps_attributes_outside_and_inner_ones_inside() {
        check(
            quote!(stride = 2),
            quote!(
                fn f() {
                    #[cfg(x)]
                    loop {                        #![allow(y)]                        g();
                    }
                }
            ),
            quote! {
                fn f() {
                    ::engset::reduce(1);
                    #[cfg(x)]
                    {
                        let mut __engset_n: u32 = 0;
                        loop {
                            #![allow(y)]
                            __engset_n += 1;
                            if __engset_n >= 2 { __engset_n = 0; ::engset::reduce(2); }
                            g();
                        }
                    }
                }
            },
        );
    }

    #[test]
    fn everything_around_the_body_is_kept() {
        check(
            quote!(),
            quote! {
                /// Documented.
                #[inline(never)]
                pub(crate) unsafe extern "C" fn f<'a, T: Copy, const N: usize>(&'a self, x: [T; N]) -> &'a T
                where T: Send {
                    #![allow(unused)]
                    use a::b;
                    fn nested() {}
                    b(x)
                }
            },
            quote! {
                /// Documented.
                #[inline(never)]
                pub(crate) unsafe extern "C" fn f<'a, T: Copy, const N: usize>(&'a self, x: [T; N]) -> &'a T
                where T: Send {
                    #![allow(unused)]
                    use a::b;
                    fn nested() { ::engset::reduce(1); }
                    ::engset::reduce(1);
                    b(x)
                }
            },
        );
    }

    #[test]
    fn closures_and_async_pay_for_loops_only() {
        check(
            quote!(),
            quote!(
                async fn f() {
                    let c = |x| {
                        for _ in x {}
                    };
                    async { loop {} }.await
                }
            ),
            quote! {
                async fn f() {
                    ::engset::reduce(1);
                    let c = |x| { for _ in x { ::engset::reduce(1); } };
                    async { loop { ::engset::reduce(1); } }.await
                }
            },
        );
    }

    #[test]
    fn loops_anywhere_in_expressions() {
        let expanded = expand(
            quote!(),
            quote! {
                fn f() {
                    while loop { break c(); } {}
                    for x in loop { break y; } {}
                    let Some(z) = g(loop { break 1; }) else { loop {} };
                    match loop { break 2; } { n if loop { break true; } => loop {}, _ => return loop {} }
                    [loop { break 3; }; 2];
                }
            },
        );
        assert_eq!(expanded.to_string().matches("reduce").count(), 1 + 2 + 2 + 2 + 4 + 1);
    }

    #[test]
    fn constant_code_and_macros_are_left() {
        check(
            quote!(),
            quote! {
                fn f() {
                    const A: u8 = loop { break 1; };
                    static B: u8 = loop { break 1; };
                    enum E { V = loop { break 1; } }
                    let c = const { loop { break 1; } };
                    let d: [u8; loop { break 1; }] = [0; { loop { break 1; } }];
                    let e = g::<{ loop { break 1; } }>();
                    struct S<const N: usize = { loop { break 1; } }>;
                    vec![loop { break 1; }];
                    macro_rules! m { () => { loop {} } }
                }
            },
            quote! {
                fn f() {
                    const A: u8 = loop { break 1; };
                    static B: u8 = loop { break 1; };
                    enum E { V = loop { break 1; } }
                    ::engset::reduce(1);
                    let c = const { loop { break 1; } };
                    let d: [u8; loop { break 1; }] = [0; { loop { break 1; } }];
                    let e = g::<{ loop { break 1; } }>();
                    struct S<const N: usize = { loop { break 1; } }>;
                    vec![loop { break 1; }];
                    macro_rules! m { () => { loop {} } }
                }
            },
        );
    }

    #[test]
    fn blocks_and_modules() {
        check(
            quote!(),
            quote! {
                mod m {
                    impl S { const C: u8 = loop { break 1; }; pub fn f(&self) {} const fn new() -> S { S } }
                    trait T { fn f(&self); fn g(&self) { loop {} } }
                    mod n { fn f() {} }
                    extern "C" { fn h(); }
                }
            },
            quote! {
                mod m {
                    impl S {
                        const C: u8 = loop { break 1; };
                        pub fn f(&self) { ::engset::reduce(1); }
                        const fn new() -> S { S }
                    }
                    trait T {
                        fn f(&self);
                        fn g(&self) { ::engset::reduce(1); loop { ::engset::reduce(1); } }
                    }
                    mod n { fn f() { ::engset::reduce(1); } }
                    extern "C" { fn h(); }
                }
            },
        );
    }

    #[test]
    fn marked_items_inside_are_left_to_their_attribute() {
        unchanged(quote! {
            mod m {
                #[preemptible(cost = 8)] fn f() { loop {} }
                #[engset::preemptible] impl S { fn f() { loop {} } }
                #[preemptible] trait T { fn f() { loop {} } }
                #[preemptible] mod n { fn f() { loop {} } }
                impl S { #[preemptible] fn f() { loop {} } }
                trait T { #[preemptible] fn f() { loop {} } }
            }
        });
    }

    #[test]
    fn const_fn() {
        let direct = "`const fn` cannot be preemptible: reduction calls are not const; remove";
        refused(
            quote!(),
            quote!(
                pub const fn f() {}
            ),
            direct,
        );
        let looping = "not const, and this one contains a loop";
        refused(quote!(), quote!(impl S { const fn f() { while true {} } }), looping);
        refused(
            quote!(),
            quote!(
                mod m {
                    pub const unsafe fn f() {
                        loop {}
                    }
                }
            ),
            looping,
        );
        refused(
            quote!(),
            quote!(
                fn f() {
                    const fn g() {
                        loop {}
                    }
                }
            ),
            looping,
        );
        // The loop of a function inside is that function's, and a const block's is no charge anywhere.
        check(
            quote!(),
            quote!(
                mod m {
                    const fn f() {
                        fn g() {
                            loop {}
                        }
                        const { loop {} }
                    }
                }
            ),
            quote! {
                mod m {
                    const fn f() {
                        fn g() { ::engset::reduce(1); loop { ::engset::reduce(1); } }
                        const { loop {} }
                    }
                }
            },
        );
    }

    #[test]
    fn each_looping_const_fn_is_named() {
        let item = quote!(impl S { const fn f() { loop {} } const fn g() { loop {} } });
        assert_eq!(expand(quote!(), item).to_string().matches("compile_error").count(), 2);
    }

    #[test]
    fn misplaced() {
        for (item, what) in [
            (
                quote!(
                    struct S;
                ),
                "not on a struct",
            ),
            (
                quote!(
                    enum E {}
                ),
                "not on an enum",
            ),
            (
                quote!(
                    const C: u8 = 1;
                ),
                "not on a const item",
            ),
            (
                quote!(
                    static C: u8 = 1;
                ),
                "not on a static item",
            ),
            (
                quote!(
                    mod m;
                ),
                "not on a module in another file",
            ),
            (
                quote!(
                    type T = u8;
                ),
                "not on a type alias",
            ),
            (
                quote!(
                    use a::b;
                ),
                "not on a use declaration",
            ),
            (
                quote!(
                    extern "C" {}
                ),
                "not on an extern block",
            ),
            (
                quote!(
                    fn f(&self);
                ),
                "goes on a function with a body",
            ),
        ] {
            refused(quote!(), item, what);
        }
    }

    #[test]
    fn twice_and_bad_options() {
        refused(
            quote!(),
            quote!(
                #[engset::preemptible(cost = 2)]
                fn f() {}
            ),
            "is given twice",
        );
        refused(
            quote!(price = 1),
            quote!(
                fn f() {}
            ),
            "unknown option `price`; valid options: `cost = N`",
        );
        refused(
            quote!(cost = 0),
            quote!(
                fn f() {}
            ),
            "from 1 to 4000, found `0`",
        );
    }
}

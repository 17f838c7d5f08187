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
        quote! {
            fn f() {
                #[cfg(x)]
                loop {
                    #![allow(y)]
                    g();
                }
            }
        },
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

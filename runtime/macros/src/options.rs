//! The options in the parentheses of `#[preemptible(...)]`.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use std::ops::RangeInclusive;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, ExprLit, Ident, Lit, Path, Result, Token};

const COSTS: RangeInclusive<u32> = 1..=4000;
/// Times the largest cost, the largest stride still fits the `u32` that `reduce` takes.
const STRIDES: RangeInclusive<u32> = 1..=65_536;
const VALID: &str = "valid options: `cost = N`, `stride = N`, `crate = path`";

/// How to instrument a function.
pub(crate) struct Options {
    /// Units charged per function entry and per loop iteration.
    pub(crate) cost: u32,
    /// Iterations that are charged together; 1 charges each on its own.
    pub(crate) stride: u32,
    /// The path in which `reduce` is found.
    pub(crate) runtime: Path,
}

impl Options {
    /// What one charge in a loop amounts to.
    pub(crate) fn strip_cost(&self) -> u32 {
        self.cost * self.stride
    }
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let (mut cost, mut stride, mut runtime) = (None, None, None);
        while !input.is_empty() {
            if !input.peek(Ident::peek_any) {
                return Err(input.error(format!("expected an option; {VALID}")));
            }
            let name = Ident::parse_any(input)?;
            match name.to_string().as_str() {
                "cost" => set(&mut cost, &name, input, |input| units("cost", &COSTS, input))?,
                "stride" => set(&mut stride, &name, input, |input| units("stride", &STRIDES, input))?,
                "crate" => set(&mut runtime, &name, input, path)?,
                other => return Err(Error::new(name.span(), format!("unknown option `{other}`; {VALID}"))),
            }
            if !input.is_empty() && !input.peek(Token![,]) {
                return Err(input.error(format!("expected `,` after the value of `{name}`")));
            }
            input.parse::<Option<Token![,]>>()?;
        }
        Ok(Self {
            cost: cost.unwrap_or(1),
            stride: stride.unwrap_or(1),
            runtime: runtime.unwrap_or_else(|| syn::parse_quote_spanned!(Span::mixed_site()=> ::engset)),
        })
    }
}

/// Parses `= value` into `slot`, which must still be empty.
fn set<T>(
    slot: &mut Option<T>,
    name: &Ident,
    input: ParseStream<'_>,
    value: impl FnOnce(ParseStream<'_>) -> Result<T>,
) -> Result<()> {
    if slot.is_some() {
        return Err(Error::new(name.span(), format!("option `{name}` is given twice")));
    }
    if !input.peek(Token![=]) {
        return Err(Error::new(name.span(), format!("option `{name}` needs a value; {VALID}")));
    }
    input.parse::<Token![=]>()?;
    if input.is_empty() || input.peek(Token![,]) {
        return Err(Error::new(name.span(), format!("option `{name}` needs a value; {VALID}")));
    }
    *slot = Some(value(input)?);
    Ok(())
}

fn units(name: &str, range: &RangeInclusive<u32>, input: ParseStream<'_>) -> Result<u32> {
    let value: Expr = input.parse()?;
    let literal = match &value {
        Expr::Lit(ExprLit { lit: Lit::Int(literal), .. }) if matches!(literal.suffix(), "" | "u32") => {
            literal.base10_parse().ok()
        }
        _ => None,
    };
    literal.filter(|units| range.contains(units)).ok_or_else(|| {
        let (least, most, found) = (range.start(), range.end(), source(value.to_token_stream()));
        let message = format!("`{name}` must be an integer literal from {least} to {most}, found `{found}`");
        Error::new_spanned(&value, message)
    })
}

fn path(input: ParseStream<'_>) -> Result<Path> {
    let start = input.fork();
    input.call(Path::parse_mod_style).map_err(|_| {
        let message = match start.parse::<Expr>() {
            Ok(value) => format!(
                "`crate` must be a path such as `::engset`, without quotes, found `{}`",
                source(value.to_token_stream())
            ),
            Err(_) => "`crate` must be a path such as `::engset`".to_owned(),
        };
        input.error(message)
    })
}

/// The tokens as they would be written, for messages.
fn source(tokens: TokenStream) -> String {
    let text = tokens.to_string();
    match text.strip_prefix("- ") {
        Some(rest) => format!("-{rest}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn parse(tokens: TokenStream) -> Options {
        syn::parse2(tokens).unwrap_or_else(|error| panic!("{error}"))
    }

    fn refused(tokens: TokenStream) -> String {
        match syn::parse2::<Options>(tokens) {
            Ok(_) => panic!("accepted"),
            Err(error) => error.to_string(),
        }
    }

    fn runtime(options: &Options) -> String {
        options.runtime.to_token_stream().to_string()
    }

    #[test]
    fn defaults() {
        let options = parse(quote!());
        assert_eq!((options.cost, options.stride), (1, 1));
        assert_eq!(runtime(&options), ":: engset");
    }

    #[test]
    fn all_options_in_any_order() {
        let options = parse(quote!(crate = crate::rt, stride = 256, cost = 8,));
        assert_eq!((options.cost, options.stride, options.strip_cost()), (8, 256, 2048));
        assert_eq!(runtime(&options), "crate :: rt");
        assert_eq!(runtime(&parse(quote!(crate = ::facade::engset))), ":: facade :: engset");
        assert_eq!(runtime(&parse(quote!(crate = crate))), "crate");
    }

    #[test]
    fn limits_are_inclusive() {
        assert_eq!(parse(quote!(cost = 1)).cost, 1);
        assert_eq!(parse(quote!(cost = 4_000u32)).cost, 4000);
        assert_eq!(parse(quote!(stride = 0x1_0000)).stride, 65_536);
        assert_eq!(parse(quote!(cost = 4000, stride = 65536)).strip_cost(), 262_144_000);
    }

    #[test]
    fn bad_units_name_the_value() {
        let found =
            |value: &str| format!("`cost` must be an integer literal from 1 to 4000, found `{value}`");
        assert_eq!(refused(quote!(cost = 0)), found("0"));
        assert_eq!(refused(quote!(cost = 4001)), found("4001"));
        assert_eq!(refused(quote!(cost = -1)), found("-1"));
        assert_eq!(refused(quote!(cost = 99999999999999)), found("99999999999999"));
        assert_eq!(refused(quote!(cost = 1.5)), found("1.5"));
        assert_eq!(refused(quote!(cost = 3i8)), found("3i8"));
        assert_eq!(refused(quote!(cost = "8")), found("\"8\""));
        assert_eq!(refused(quote!(cost = COST)), found("COST"));
        assert_eq!(
            refused(quote!(stride = 65537)),
            "`stride` must be an integer literal from 1 to 65536, found `65537`"
        );
    }

    #[test]
    fn bad_options_list_the_valid_ones() {
        assert_eq!(refused(quote!(price = 3)), format!("unknown option `price`; {VALID}"));
        assert_eq!(refused(quote!(loop)), format!("unknown option `loop`; {VALID}"));
        assert_eq!(refused(quote!(8)), format!("expected an option; {VALID}"));
        assert_eq!(refused(quote!(cost)), format!("option `cost` needs a value; {VALID}"));
        assert_eq!(refused(quote!(cost = , stride = 3)), format!("option `cost` needs a value; {VALID}"));
        assert_eq!(refused(quote!(crate =)), format!("option `crate` needs a value; {VALID}"));
    }

    #[test]
    fn repeated_and_malformed_options() {
        assert_eq!(refused(quote!(cost = 1, cost = 2)), "option `cost` is given twice");
        assert_eq!(refused(quote!(cost = 1 stride = 2)), "expected `,` after the value of `cost`");
        assert_eq!(
            refused(quote!(crate = "engset")),
            "`crate` must be a path such as `::engset`, without quotes, found `\"engset\"`"
        );
    }
}

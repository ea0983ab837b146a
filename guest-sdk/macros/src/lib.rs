//! `#[handler]`, re-exported by `sandmill-guest`: the only thing an author has to write besides his code.
//!
//! On a function it makes a handler without state of it; on an `impl Handler for …` it exports that type.
//! The item itself stays as it was written, so that tests call it like any other function.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Item, ItemFn, ItemImpl};

/// Makes the function or the implementation below it this crate's handler.
///
/// A function has the shape `fn(Record<'_>, &mut Outputs) -> Result<(), Failure>`; an implementation is one
/// of `Handler` for a type. There is one handler in a crate.
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = if arguments.is_empty() {
        syn::parse::<Item>(item).and_then(expand)
    } else {
        Err(Error::new(Tokens::from(arguments).span(), "`#[handler]` takes no arguments"))
    };
    expanded.unwrap_or_else(Error::into_compile_error).into()
}

fn expand(item: Item) -> Result<Tokens, Error> {
    match item {
        Item::Fn(function) => expand_function(&function),
        Item::Impl(implementation) => expand_impl(&implementation),
        other => {
            Err(Error::new(other.span(), "`#[handler]` stands on a function or on an `impl Handler for …`"))
        }
    }
}

fn expand_function(function: &ItemFn) -> Result<Tokens, Error> {
    let signature = &function.sig;
    if let Some(asyncness) = &signature.asyncness {
        return Err(Error::new(asyncness.span(), "a handler is not `async`: the host calls it with a batch"));
    }
    if signature.inputs.len() != 2 {
        return Err(Error::new(
            signature.span(),
            "a handler is a `fn(Record<'_>, &mut Outputs) -> Result<(), Failure>`; \
             for state or for the whole batch implement `Handler`",
        ));
    }
    let name = &signature.ident;
    // The call carries the function's span, so that a wrong type is reported there and not at the attribute.
    let call = quote_spanned!(signature.span()=> #name(record, out));
    Ok(quote! {
        #function

        const _: () = {
            struct Function;

            impl ::sandmill_guest::Handler for Function {
                fn start(_: &::sandmill_guest::Config) -> ::core::result::Result<Self, ::sandmill_guest::StartError> {
                    ::core::result::Result::Ok(Self)
                }

                fn handle(
                    &mut self,
                    record: ::sandmill_guest::Record<'_>,
                    out: &mut ::sandmill_guest::Outputs,
                ) -> ::core::result::Result<(), ::sandmill_guest::Failure> {
                    #call
                }
            }

            ::sandmill_guest::export!(Function);
        };
    })
}

fn expand_impl(implementation: &ItemImpl) -> Result<Tokens, Error> {
    if implementation.trait_.is_none() {
        return Err(Error::new(
            implementation.span(),
            "`#[handler]` stands on an `impl Handler for …`, not on a plain `impl`",
        ));
    }
    if let Some(parameter) = implementation.generics.params.first() {
        return Err(Error::new(
            parameter.span(),
            "the exported handler is one type, so it has no parameters",
        ));
    }
    let handler = &implementation.self_ty;
    Ok(quote! {
        #implementation

        ::sandmill_guest::export!(#handler);
    })
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::{Item, expand};

    fn error(item: Item) -> String {
        expand(item).expect_err("the item is no handler").to_string()
    }

    #[test]
    fn an_item_that_is_no_handler_is_refused_with_what_to_do() {
        assert!(
            error(parse_quote!(
                struct Counter;
            ))
            .contains("on a function or on an `impl Handler for")
        );
        assert!(
            error(parse_quote!(
                async fn handle(record: R, out: O) {}
            ))
            .contains("not `async`")
        );
        assert!(
            error(parse_quote!(
                fn handle(batch: B) {}
            ))
            .contains("implement `Handler`")
        );
        assert!(error(parse_quote!(impl Counter {})).contains("not on a plain `impl`"));
        assert!(
            error(parse_quote!(
                impl<T> Handler for Counter<T> {}
            ))
            .contains("no parameters")
        );
    }

    #[test]
    fn the_item_itself_stays_as_it_was() {
        let item: Item = parse_quote!(
            fn handle(record: R, out: O) -> Result<(), Failure> {
                Ok(())
            }
        );
        let expanded: syn::File = syn::parse2(expand(item.clone()).expect("a handler")).expect("items");
        assert!(expanded.items.contains(&item));
    }
}

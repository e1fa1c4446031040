// The C interface of src/text/text_ffi.h over the `tokenizers` crate.
//
// Every entry point catches panics: Rust never unwinds into C++. Bytes and ids go out through callbacks
// ("sinks"), so that no memory changes owner across the border, but for the tokenizer handle itself.
//
// SPDX-License-Identifier: Apache-2.0

use std::ffi::c_void;
use std::panic::{catch_unwind, AssertUnwindSafe};

use tokenizers::models::ModelWrapper;
use tokenizers::Tokenizer;

pub struct TextFfiTokenizer {
    tokenizer: Tokenizer,
    id_limit: u32, // the largest id + 1
}

type ByteSink = unsafe extern "C" fn(context: *mut c_void, data: *const u8, len: usize);
type IdSink = unsafe extern "C" fn(context: *mut c_void, ids: *const u32, len: usize);

#[repr(C)]
pub struct TextFfiBytes {
    context: *mut c_void,
    sink: ByteSink,
}

impl TextFfiBytes {
    fn put(&self, bytes: &[u8]) {
        unsafe { (self.sink)(self.context, bytes.as_ptr(), bytes.len()) }
    }
}

#[repr(C)]
pub struct TextFfiIds {
    context: *mut c_void,
    sink: IdSink,
}

const PART_NORMALIZER: i32 = 0;
const PART_PRE_TOKENIZER: i32 = 1;
const PART_POST_PROCESSOR: i32 = 2;
const PART_DECODER: i32 = 3;
const PART_MODEL: i32 = 4;
const PART_ADDED_TOKENS: i32 = 5;

/// Runs `body`; its error, or its panic, goes to `error` as text.
fn guard<T>(error: &TextFfiBytes, body: impl FnOnce() -> Result<T, String>) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(message)) => error.put(message.as_bytes()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
            error.put(format!("the tokenizer library panicked: {text}").as_bytes());
        }
    }
    None
}

/// `data` may be null where `len` is 0, which `from_raw_parts` forbids.
unsafe fn slice<'a, T>(data: *const T, len: usize) -> &'a [T] {
    if len == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, len)
    }
}

fn describe_model(model: &ModelWrapper) -> serde_json::Value {
    use serde_json::json;
    match model {
        ModelWrapper::BPE(bpe) => json!({"type": "BPE", "dropout": bpe.dropout, "unk_token": bpe.unk_token,
            "fuse_unk": bpe.fuse_unk, "byte_fallback": bpe.byte_fallback}),
        ModelWrapper::WordPiece(_) => json!({"type": "WordPiece"}),
        ModelWrapper::WordLevel(_) => json!({"type": "WordLevel"}),
        ModelWrapper::Unigram(_) => json!({"type": "Unigram"}),
    }
}

fn describe_part(tokenizer: &Tokenizer, part: i32) -> Result<String, String> {
    let text = match part {
        PART_NORMALIZER => serde_json::to_string(&tokenizer.get_normalizer()),
        PART_PRE_TOKENIZER => serde_json::to_string(&tokenizer.get_pre_tokenizer()),
        PART_POST_PROCESSOR => serde_json::to_string(&tokenizer.get_post_processor()),
        PART_DECODER => serde_json::to_string(&tokenizer.get_decoder()),
        PART_MODEL => serde_json::to_string(&describe_model(tokenizer.get_model())),
        PART_ADDED_TOKENS => {
            let mut tokens: Vec<_> = tokenizer.get_added_tokens_decoder().into_iter().collect();
            tokens.sort_by_key(|(id, _)| *id);
            serde_json::to_string(&tokens)
        }
        _ => return Err(format!("no part {part}")),
    };
    text.map_err(|error| error.to_string())
}

/// # Safety
/// `json` points to `len` bytes; the sink obeys text_ffi.h.
#[no_mangle]
pub unsafe extern "C" fn text_ffi_tokenizer_new(
    json: *const u8,
    len: usize,
    error: TextFfiBytes,
) -> *mut TextFfiTokenizer {
    // A panic is reported where it is caught; the default hook would also print it on stderr.
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let made = guard(&error, || {
        let mut tokenizer = Tokenizer::from_bytes(slice(json, len)).map_err(|error| error.to_string())?;
        // As transformers encodes: the file may hold what its author last used, which is not asked for here.
        tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
        tokenizer.with_padding(None);
        let id_limit = tokenizer.get_vocab(true).values().max().map_or(0, |id| id.saturating_add(1));
        Ok(Box::into_raw(Box::new(TextFfiTokenizer { tokenizer, id_limit })))
    });
    made.unwrap_or(std::ptr::null_mut())
}

/// # Safety
/// `tokenizer` came from `text_ffi_tokenizer_new` and is not used afterwards.
#[no_mangle]
pub unsafe extern "C" fn text_ffi_tokenizer_free(tokenizer: *mut TextFfiTokenizer) {
    if !tokenizer.is_null() {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(tokenizer))));
    }
}

/// # Safety
/// As text_ffi.h says.
#[no_mangle]
pub unsafe extern "C" fn text_ffi_encode(
    tokenizer: *const TextFfiTokenizer,
    text: *const u8,
    len: usize,
    add_special_tokens: bool,
    ids: TextFfiIds,
    error: TextFfiBytes,
) -> bool {
    let done = guard(&error, || {
        let text = String::from_utf8_lossy(slice(text, len));
        let encoding = (*tokenizer).tokenizer.encode_fast(text.as_ref(), add_special_tokens);
        let encoding = encoding.map_err(|error| error.to_string())?;
        (ids.sink)(ids.context, encoding.get_ids().as_ptr(), encoding.get_ids().len());
        Ok(())
    });
    done.is_some()
}

/// # Safety
/// As text_ffi.h says.
#[no_mangle]
pub unsafe extern "C" fn text_ffi_decode(
    tokenizer: *const TextFfiTokenizer,
    ids: *const u32,
    len: usize,
    skip_special_tokens: bool,
    text: TextFfiBytes,
    error: TextFfiBytes,
) -> bool {
    let done = guard(&error, || {
        let decoded = (*tokenizer).tokenizer.decode(slice(ids, len), skip_special_tokens);
        text.put(decoded.map_err(|error| error.to_string())?.as_bytes());
        Ok(())
    });
    done.is_some()
}

/// # Safety
/// As text_ffi.h says.
#[no_mangle]
pub unsafe extern "C" fn text_ffi_id_limit(tokenizer: *const TextFfiTokenizer) -> u32 {
    (*tokenizer).id_limit
}

/// # Safety
/// As text_ffi.h says.
#[no_mangle]
pub unsafe extern "C" fn text_ffi_id_to_token(
    tokenizer: *const TextFfiTokenizer,
    id: u32,
    token: TextFfiBytes,
) -> bool {
    let found = catch_unwind(AssertUnwindSafe(|| (*tokenizer).tokenizer.id_to_token(id)));
    match found {
        Ok(Some(text)) => {
            token.put(text.as_bytes());
            true
        }
        _ => false,
    }
}

/// # Safety
/// As text_ffi.h says.
#[no_mangle]
pub unsafe extern "C" fn text_ffi_token_to_id(
    tokenizer: *const TextFfiTokenizer,
    token: *const u8,
    len: usize,
) -> i64 {
    let found = catch_unwind(AssertUnwindSafe(|| {
        let token = std::str::from_utf8(slice(token, len)).ok()?;
        (*tokenizer).tokenizer.token_to_id(token)
    }));
    found.ok().flatten().map_or(-1, i64::from)
}

/// # Safety
/// As text_ffi.h says.
#[no_mangle]
pub unsafe extern "C" fn text_ffi_describe(
    tokenizer: *const TextFfiTokenizer,
    part: i32,
    json: TextFfiBytes,
    error: TextFfiBytes,
) -> bool {
    let done = guard(&error, || {
        json.put(describe_part(&(*tokenizer).tokenizer, part)?.as_bytes());
        Ok(())
    });
    done.is_some()
}

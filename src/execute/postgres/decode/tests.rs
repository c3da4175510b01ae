use super::*;

fn text_of<'a>(text: &'a str) -> Value<'a> {
    Value::Text(Cow::Borrowed(text))
}

#[test]
fn every_simple_type() {
    let check = |type_: Type, bytes: &[u8], expected: Value<'_>| {
        let codec = Codec::of(&type_).unwrap();
        assert_eq!(decode(&codec, bytes), Ok(expected), "{type_}");
    };
    check(Type::BOOL, &[1], Value::Bool(true));
    check(Type::CHAR, b"r", text_of("r"));
    check(Type::INT2, &[0xFF, 0xFE], Value::Int(-2));
    check(Type::INT4, &[0x80, 0, 0, 0], Value::Int(i32::MIN.into()));
    check(Type::INT8, &i64::MIN.to_be_bytes(), Value::BigInt(i64::MIN));
    check(Type::OID, &[0xFF; 4], Value::Int(u32::MAX.into()));
    check(Type::XID8, &[0xFF; 8], Value::BigUint(u64::MAX));
    check(Type::FLOAT4, &1.5_f32.to_be_bytes(), Value::Float(1.5));
    check(
        Type::FLOAT8,
        &(-0.25_f64).to_be_bytes(),
        Value::Double(-0.25),
    );
    check(
        Type::MONEY,
        &123_i64.to_be_bytes(),
        Value::Decimal("1.23".into()),
    );
    check(Type::TEXT, "héé".as_bytes(), text_of("héé"));
    check(
        Type::JSON,
        b"{\"a\": 1.0}",
        Value::Json("{\"a\": 1.0}".into()),
    );
    check(Type::JSONB, b"\x01[1]", Value::Json("[1]".into()));
    check(Type::JSONPATH, b"\x01$.\"a\"", text_of("$.\"a\""));
    check(
        Type::BYTEA,
        &[0, 255],
        Value::Bytes((&[0_u8, 255][..]).into()),
    );
    check(
        Type::PG_LSN,
        &[0, 0, 0, 1, 0, 0, 0xAB, 0],
        text_of("1/AB00"),
    );
    check(Type::TID, &[0, 0, 0, 7, 0, 2], text_of("(7,2)"));
    check(Type::VOID, &[], text_of(""));
    check(
        Type::UUID,
        &[
            0xA0, 0xEE, 0xBC, 0x99, 0x9C, 0x0B, 0x4E, 0xF8, 0xBB, 0x6D, 0x6B, 0xB9, 0xBD, 0x38,
            0x0A, 0x11,
        ],
        text_of("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    );
    check(
        Type::TS_VECTOR,
        b"\0\0\0\x02a'b\0\0\0cat\0\0\x02\0\x03\xC0\x07",
        text_of("'a''b' 'cat':3,7A"),
    );
}

#[test]
fn wrong_lengths_are_malformed() {
    for (type_, bytes) in [
        (Type::BOOL, &[][..]),
        (Type::BOOL, &[1, 0]),
        (Type::INT4, &[0, 0, 0]),
        (Type::INT8, &[0; 9]),
        (Type::TEXT, &[0xFF]),
        (Type::JSONB, &[]),
        (Type::UUID, &[0; 15]),
    ] {
        let codec = Codec::of(&type_).unwrap();
        assert_eq!(decode(&codec, bytes), Err(Malformed), "{type_}");
    }
}

fn array_bytes(dimensions: &[(i32, i32)], elements: &[Option<&[u8]>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(i32::try_from(dimensions.len()).unwrap().to_be_bytes());
    bytes.extend(1_i32.to_be_bytes());
    bytes.extend(23_u32.to_be_bytes());
    for (length, lower) in dimensions {
        bytes.extend(length.to_be_bytes());
        bytes.extend(lower.to_be_bytes());
    }
    for element in elements {
        push_field(&mut bytes, *element);
    }
    bytes
}

fn push_field(bytes: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => bytes.extend((-1_i32).to_be_bytes()),
        Some(field) => {
            bytes.extend(i32::try_from(field.len()).unwrap().to_be_bytes());
            bytes.extend(field);
        }
    }
}

#[test]
fn arrays_have_dimensions_and_nulls() {
    let codec = Codec::of(&Type::INT4_ARRAY).unwrap();
    let one = 1_i32.to_be_bytes();
    let two = 2_i32.to_be_bytes();
    let ints = |values: &[i64]| Value::Array(values.iter().copied().map(Value::Int).collect());

    assert_eq!(decode(&codec, &array_bytes(&[], &[])), Ok(ints(&[])));
    let flat = array_bytes(&[(2, 1)], &[Some(&one), None]);
    assert_eq!(
        decode(&codec, &flat),
        Ok(Value::Array(vec![Value::Int(1), Value::Null]))
    );
    let square = array_bytes(
        &[(2, 1), (2, -3)],
        &[Some(&one), Some(&two), Some(&two), Some(&one)],
    );
    assert_eq!(
        decode(&codec, &square),
        Ok(Value::Array(vec![ints(&[1, 2]), ints(&[2, 1])]))
    );
    // A length that the bytes cannot hold allocates nothing.
    let huge = array_bytes(&[(i32::MAX, 1)], &[Some(&one)]);
    assert_eq!(decode(&codec, &huge), Err(Malformed));
    let negative = array_bytes(&[(-1, 1)], &[]);
    assert_eq!(decode(&codec, &negative), Err(Malformed));
}

#[test]
fn ranges_and_rows_are_text() {
    let codec = Codec::of(&Type::INT4_RANGE).unwrap();
    let mut bounded = vec![0x02];
    push_field(&mut bounded, Some(&1_i32.to_be_bytes()));
    push_field(&mut bounded, Some(&5_i32.to_be_bytes()));
    let mut open = vec![0x08 | 0x04];
    push_field(&mut open, Some(&5_i32.to_be_bytes()));
    for (bytes, expected) in [
        (bounded, "[1,5)"),
        (open, "(,5]"),
        (vec![0x01], "empty"),
        (vec![0x18], "(,)"),
    ] {
        assert_eq!(decode(&codec, &bytes), Ok(text_of(expected)));
    }

    let mut row = 4_i32.to_be_bytes().to_vec();
    for (oid, field) in [
        (23_u32, Some(&7_i32.to_be_bytes()[..])),
        (25, Some(b"a \"b\"")),
        (25, None),
        (25, Some(b"")),
    ] {
        row.extend(oid.to_be_bytes());
        push_field(&mut row, field);
    }
    assert_eq!(
        decode(&Codec::Record, &row),
        Ok(text_of("(7,\"a \"\"b\"\"\",,\"\")"))
    );
    let typed = |first| {
        let text = || (25, Codec::Text);
        Codec::Row(vec![(first, Codec::Int4), text(), text(), text()])
    };
    assert!(decode(&typed(23), &row).is_ok());
    for other in [typed(700), Codec::Row(vec![(23, Codec::Int4)])] {
        assert_eq!(decode(&other, &row), Err(Malformed));
    }
}

#[test]
fn a_type_without_a_codec_has_none() {
    for type_ in [Type::ACLITEM, Type::TXID_SNAPSHOT, Type::ACLITEM_ARRAY] {
        assert_eq!(Codec::of(&type_), None, "{type_}");
    }
}

proptest::proptest! {
    #[test]
    fn nothing_panics(bytes: Vec<u8>) {
        for type_ in [
            Type::NUMERIC, Type::INT4_ARRAY, Type::TEXT_ARRAY, Type::NUM_RANGE, Type::RECORD,
            Type::TSTZ_RANGE, Type::INT8MULTI_RANGE, Type::JSONB, Type::CHAR,
        ] {
            if let Some(codec) = Codec::of(&type_) {
                let _ = decode(&codec, &bytes);
            }
        }
    }
}

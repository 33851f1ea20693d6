import Documents
import Protobuf
import Testing

@Suite struct YAMLTests {
    @Test func aMessageWithEveryKindOfFieldReadsBackAsItWas() throws {
        let arena = Arena()
        let message = try arena.decodeJSON(Everything.descriptor, richJSON, types: testTypes)
        let text = try yaml(of: message, types: testTypes)
        let again = try arena.decodeYAML(Everything.descriptor, text, types: testTypes)
        #expect(try yaml(of: again, types: testTypes) == text)
        #expect(encode(again) == encode(message))
    }

    @Test func theOutputReadsAsPeopleWriteIt() throws {
        let arena = Arena()
        let message = try arena.decodeJSON(
            Everything.descriptor,
            #"""
            {"a_string": "line one\nline two\n", "a_int64": "5", "children": [{"a_int32": 1, "many_string": ["x", "1", "true", "", "a: b", "# c", "-"]}, {}],
             "labels": {"a": "*", "null": "no"}, "duration": "5s", "any": {"@type": "t/martinet.test.Older", "child": {"a_int32": 2}}}
            """#, types: testTypes)
        #expect(
            try yaml(of: message, types: testTypes) == """
                a_int64: 5
                a_string: |
                  line one
                  line two
                children:
                  - a_int32: 1
                    many_string:
                      - x
                      - "1"
                      - "true"
                      - ""
                      - "a: b"
                      - "# c"
                      - "-"
                  - {}
                labels:
                  a: "*"
                  "null": "no"
                any:
                  "@type": t/martinet.test.Older
                  child:
                    a_int32: 2
                duration: 5s

                """)
    }

    @Test(arguments: [
        ("a_string: 1", #"{"a_string":"1"}"#), ("a_string: \"1\"", #"{"a_string":"1"}"#),
        ("a_string: true", #"{"a_string":"true"}"#),
        ("a_string: 1.10", #"{"a_string":"1.10"}"#), ("a_string: ~", "{}"), ("a_string:", "{}"),
        ("a_string: 'null'", #"{"a_string":"null"}"#),
        ("a_int32: \"12\"", #"{"a_int32":12}"#), ("a_int32: +12", #"{"a_int32":12}"#),
        ("a_int32: 0x1F", #"{"a_int32":31}"#),
        ("a_int32: 0o17", #"{"a_int32":15}"#), ("a_double: .5", #"{"a_double":0.5}"#),
        ("a_double: 1.", #"{"a_double":1}"#),
        ("a_double: .inf", #"{"a_double":"Infinity"}"#), ("a_double: -.INF", #"{"a_double":"-Infinity"}"#),
        ("a_float: .nan", #"{"a_float":"NaN"}"#),
        ("a_bool: True", #"{"a_bool":true}"#), ("a_color: RED", #"{"a_color":"RED"}"#),
        ("a_color: 2", #"{"a_color":"DARK_GREEN"}"#),
        ("duration: 1.5s", #"{"duration":"1.500s"}"#),
        ("timestamp: 2024-01-01T00:00:00Z", #"{"timestamp":"2024-01-01T00:00:00Z"}"#),
        ("value: 1", #"{"value":1}"#), ("value: '1'", #"{"value":"1"}"#), ("value: yes", #"{"value":"yes"}"#),
        ("value: 0x10", #"{"value":16}"#),
        ("value:", #"{"value":null}"#), ("value: 1.2.3", #"{"value":"1.2.3"}"#),
        ("values: [~, a, {b: [1]}]", #"{"values":[null,"a",{"b":[1]}]}"#),
        ("labels: {1: 2, true: false, ~: x}", #"{"labels":{"1":"2","true":"false","~":"x"}}"#),
        ("by_int32: {-1: a}", #"{"by_int32":{"-1":"a"}}"#),
        ("a_string: !!str 1", #"{"a_string":"1"}"#), ("a_bytes: !!binary AQI=", #"{"a_bytes":"AQI="}"#),
        ("a_bytes: |\n  AQ\n  I=", #"{"a_bytes":"AQI="}"#), ("value: !!str 1", #"{"value":"1"}"#),
        ("a_string: >-\n  one\n  two", #"{"a_string":"one two"}"#),
        ("a_string: \"\\u0041\\x42\"", #"{"a_string":"AB"}"#),
        ("---\na_int32: 1\n...\n", #"{"a_int32":1}"#),
        ("# nothing but a comment\n---\na_int32: 1\n---\n", #"{"a_int32":1}"#),
        ("{\"a_int32\": 1, \"a_bool\":true}", #"{"a_int32":1,"a_bool":true}"#),
    ])
    func theFieldsTypeJudgesWhatIsWritten(_ written: String, _ read: String) throws {
        #expect(try reread(yaml: written) == read)
    }

    @Test(arguments: [
        ("a_int32: 1.5", "1:10: a_int32: expected an integer, found `1.5`", "write a number without a fraction"),
        (
            "a_int32: 0644", "1:10: a_int32: expected an integer, found `0644`",
            "leading zeros are octal to some readers: write 0o644 or 644"
        ),
        (
            "a_int32: 3000000000", "1:10: a_int32: 3000000000 is not within -2147483648 to 2147483647",
            "write a value within the range"
        ),
        ("a_uint32: -1", "1:11: a_uint32: -1 is not within 0 to 4294967295", "write a value within the range"),
        ("a_bool: yes", "1:9: a_bool: expected true or false, found `yes`", "write true or false"),
        (
            "a_bool: 'true'", "1:9: a_bool: expected true or false, found the text \"true\"",
            "write true or false without quotes"
        ),
        ("a_strnig: x", "1:1: martinet.test.Everything has no field `a_strnig`", "did you mean `a_string`?"),
        ("aStrnig: x", "1:1: martinet.test.Everything has no field `aStrnig`", "did you mean `aString`?"),
        (
            "zzzzzzzz: x", "1:1: martinet.test.Everything has no field `zzzzzzzz`",
            "remove it, or look up the fields of martinet.test.Everything"
        ),
        (
            "a_color: DARKGREEN", "1:10: a_color: `DARKGREEN` is no value of martinet.test.Color",
            "did you mean `DARK_GREEN`?"
        ),
        ("a_int32: 1\naInt32: 2", "2:1: `a_int32` and `aInt32` are the same field", "keep one of them"),
        (
            "chosen_number: 1\nchosen_text: x", "2:1: `chosen_number` and `chosen_text` exclude each other",
            "keep one of them"
        ),
        (
            "children:\n- {}\n- child:\n    a_int32: x",
            "4:14: children[1].child.a_int32: expected an integer, found `x`", "write a number"
        ),
        ("children: {}", "1:11: children: expected a list, found a mapping", "write a list, also for one element"),
        ("child: []", "1:8: child: expected a martinet.test.Everything, found a list", "write a mapping of its fields"),
        ("a_string: [x]", "1:11: a_string: expected a text, found a list", "write one value"),
        (
            "labels: {k: ~}", "1:13: labels[\"k\"]: expected a text, found null",
            "write a value: null is allowed for whole fields only"
        ),
        ("labels: x", "1:9: labels: expected a mapping, found `x`", "write key: value pairs"),
        (
            "by_int32: {x: y}",
            "1:12: by_int32[\"x\"]: expected an integer from -2147483648 to 2147483647 as the key, found `x`",
            "write digits only"
        ),
        (
            "by_bool: {yes: RED}", "1:11: by_bool[\"yes\"]: expected true or false as the key, found `yes`",
            "write true or false"
        ),
        (
            "many_string: [a, ~]", "1:18: many_string[1]: expected a text, found null",
            "write a value: null is allowed for whole fields only"
        ),
        (
            "duration: 5", "1:11: duration: expected a duration like 1.5s, found `5`",
            "write seconds and the letter s: 0.25s, 60s"
        ),
        (
            "any: {a: 1}", "1:6: any: an Any without `@type`",
            "add \"@type\": type.googleapis.com/ and the full name of the type"
        ),
        (
            "any: {'@type': t/martinet.test.Oldr}",
            "1:16: any.@type: `t/martinet.test.Oldr` names no type that is known here",
            "did you mean `type.googleapis.com/martinet.test.Older`?"
        ),
        (
            "any: {'@type': martinet.test.Older}",
            "1:16: any.@type: `martinet.test.Older` names no type that is known here",
            "did you mean `type.googleapis.com/martinet.test.Older`?"
        ),
        (
            "any: {'@type': t/martinet.test.Older, value: 1}", "1:39: any: martinet.test.Older has no field `value`",
            "remove it, or look up the fields of martinet.test.Older"
        ),
        (
            "any: {'@type': t/google.protobuf.Duration, seconds: 1}",
            "1:44: any: expected `value` and nothing else beside @type, found `seconds`",
            "write the google.protobuf.Duration under the key `value`"
        ),
        ("a_bytes: '***'", "1:10: a_bytes: expected Base64, found the text \"***\"", "encode the bytes with Base64"),
        ("a_string: \"a\\0b\"", "1:11: a_string: a text with a NUL", "remove the NUL"),
        (
            "a_string: !other x", "1:11: a_string: the tag !other is not supported here",
            "correct the text at this place"
        ),
        (
            "value: 007", "1:8: value: expected a value, found `007`",
            "put a text in quotes, write a number without leading zeros"
        ),
        ("a_int32: 1\na_int32: 2", "1:1: the key `a_int32` is given twice", "keep one of them"),
        ("labels: {1: a, '1': b}", "1:10: the key `1` is given twice", "keep one of them"),
        ("? [a]\n: b", "1:3: expected a key, found a list or mapping", "write a text before the colon"),
        ("- a", "1:1: expected a martinet.test.Everything, found a list", "write a mapping of its fields"),
        ("a: 1\n---\nb: 2", "3:1: expected one document, found 2", "split the file at ---"),
        (
            "a_string: \"x", "1:13: while scanning a quoted scalar from 1:11: found unexpected end of stream",
            "correct the text at this place"
        ),
        (
            "a_int32: 1\n\tb: 2",
            "2:1: while scanning a plain scalar from 1:10: found a tab character that violates indentation",
            "correct the text at this place"
        ),
        ("a_string: x\u{1}", "1:12: control characters are not allowed", "correct the text at this place"),
        ("", "1:1: expected a martinet.test.Everything, found null", "write a mapping of its fields"),
    ])
    func anErrorNamesPlacePathAndMend(_ text: String, _ description: String, _ hint: String) {
        let error = textRefusal(yaml: text)
        #expect(error?.description == "web.yaml:" + description)
        #expect(error?.hint == hint)
    }

    @Test func aJSONTextKeepsJSONsTypes() {
        #expect(textRefusal(json: #"{"a_string":1}"#)?.hint == "put it in quotes")
        #expect(
            textRefusal(json: #"{"a_string":true}"#)?.description
                == "web.json:1:13: a_string: expected a text, found true")
        #expect(textRefusal(json: #"{"a_int32":"0x1F"}"#) != nil)
        #expect(textRefusal(json: #"{"a_int32":true}"#) != nil)
        #expect(textRefusal(json: #"{"a_bool":"true"}"#) != nil)
        #expect(textRefusal(json: #"{"a_bool":1}"#) != nil)
        #expect(textRefusal(json: #"{"a_color":"1"}"#) != nil)
        #expect(textRefusal(json: #"{"a_color":true}"#) != nil)
        #expect(textRefusal(json: #"{"a_int32":1,"a_int32":2}"#)?.problem == .duplicateKey("a_int32"))
        #expect(textRefusal(json: #"{"labels":{"a":"","\u0061":""}}"#)?.path == "labels")
        #expect(textRefusal(json: #"{"a_string":"\u0000"}"#)?.problem == .embeddedNUL)
    }

    @Test func severalDocumentsComeAsSeveralTrees() throws {
        let documents = try DocumentNode.parseYAML("---\nresources:\n- name: a\n---\n# empty\n---\nkind: Service\n")
        #expect(documents.count == 2)
        #expect(documents[0]["resources"]?.elements?.count == 1)
        #expect(documents[0]["resources"]?.elements?[0]["name"]?.position == SourcePosition(line: 3, column: 9))
        #expect(documents[1]["kind"]?.text == "Service")
        #expect(documents[1]["absent"] == nil)
    }

    @Test func aPartOfADocumentIsDecodedWithItsPath() throws {
        let document = try #require(
            try DocumentNode.parseYAML("version_info: 1\nresources:\n- a_int32: 1\n- a_int32: x\n").first)
        let resources = try #require(document["resources"]?.elements)
        let arena = Arena()
        let first = try arena.decode(Everything.self, from: resources[0], types: testTypes)
        #expect(first.pointee.a_int32 == 1)
        do throws(TextFormatError) {
            _ = try arena.decode(
                Everything.self, from: resources[1], types: testTypes, file: "f.yaml", path: "resources[1]")
            Issue.record("accepted")
        } catch {
            #expect(error.description == "f.yaml:4:12: resources[1].a_int32: expected an integer, found `x`")
        }
    }
}

@Suite struct YAMLAliasTests {
    @Test func aliasesAndMergeKeysAreResolved() throws {
        let text = """
            named:
              base: &base {a_int32: 1, a_string: "*base &x"}
              copy: *base
              more: {<<: *base, a_int32: 2}
              both: {<<: [*base, {a_bool: true, a_string: lost}]}
            many_string: [&s one, *s, "*s", '*s', a *s]  # *s in a comment
            a_string: |
              *s in a block
            """
        #expect(
            try reread(yaml: text)
                == #"{"a_string":"*s in a block","many_string":["one","one","*s","*s","a *s"],"named":{"#
                + #""base":{"a_int32":1,"a_string":"*base &x"},"both":{"a_int32":1,"a_bool":true,"a_string":"*base &x"},"#
                + #""copy":{"a_int32":1,"a_string":"*base &x"},"more":{"a_int32":2,"a_string":"*base &x"}}}"#)
    }

    @Test func aPrivateUseCharacterInTheTextIsKept() throws {
        let text = "a_string: \"\u{E000}\u{E001}*a\"\nmany_string: [&a x, *a]"
        #expect(try reread(yaml: text) == "{\"a_string\":\"\u{E000}\u{E001}*a\",\"many_string\":[\"x\",\"x\"]}")
    }

    @Test(arguments: [
        ("a_string: *nobody", "nobody"), ("many_string: [*later, &later x]", "later"),
        ("child: &self {child: *self}", "self"),
        ("a_string: *a b", "a b"), ("a_string: &a x\n---\na_string: *a", "a"),
    ])
    func anAliasNeedsAnAnchorBeforeIt(_ text: String, _ name: String) {
        #expect(textRefusal(yaml: text)?.problem == .undefinedAlias(name))
    }

    @Test func theLatestAnchorOfANameCounts() throws {
        #expect(try reread(yaml: "many_string: [&a x, *a, &a y, *a]") == #"{"many_string":["x","x","y","y"]}"#)
    }

    @Test func aliasBombsAreRefused() {
        // Each line stands for ten of the line before: 10^15 nodes.
        var text = "a0: &a0 [x]\n"
        for level in 1...15 {
            let alias = "*a\(level - 1)"
            text += "a\(level): &a\(level) [\(Array(repeating: alias, count: 10).joined(separator: ", "))]\n"
        }
        #expect(throws: TextFormatError.self) { try DocumentNode.parseYAML(text) }
        #expect(problem(text) == .tooManyNodes(limit: 1_000_000))
        // As keys, which a composer hashes.
        #expect(problem(text + "? *a15\n: x\n") == .tooManyNodes(limit: 1_000_000))
        // Merged.
        var merged = "m0: &m0 {x: 1}\n"
        for level in 1...30 {
            merged += "m\(level): &m\(level) {a: *m\(level - 1), <<: *m\(level - 1), b: *m\(level - 1)}\n"
        }
        #expect(problem(merged) == .tooManyNodes(limit: 1_000_000) || problem(merged) != nil)
    }

    @Test func nestingThroughAliasesIsBounded() {
        var text = "a0: &a0 [[[[[[[[[[x]]]]]]]]]]\n"
        for level in 1...30 { text += "a\(level): &a\(level) [[[[[[[[[[*a\(level - 1)]]]]]]]]]]\n" }
        #expect(problem(text) == .tooDeep(limit: 200))
    }

    @Test func nestingOfEveryFormIsBounded() {
        let count = 100_000
        for text in [
            String(repeating: "[", count: count), String(repeating: "{a: ", count: count),
            String(repeating: "- ", count: count) + "x", String(repeating: "? ", count: count) + "x",
            String(repeating: "[a: ", count: count), String(repeating: "[? ", count: count),
            (0..<2_000).map { String(repeating: " ", count: $0) + "a:\n" }.joined(),
        ] {
            #expect(problem(text) != nil, "\(text.prefix(20))")
        }
    }

    private func problem(_ text: String) -> TextFormatError.Problem? {
        do throws(TextFormatError) { _ = try DocumentNode.parseYAML(text) } catch { return error.problem }
        return nil
    }
}

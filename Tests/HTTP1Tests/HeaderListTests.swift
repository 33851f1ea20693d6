import HTTP
import Testing

/// Header lists as `name=value name=value`.
struct HeaderListTests {
    private static func list(_ text: String) -> HeaderList {
        HeaderList(
            text.split(separator: " ").map { field in
                let parts = field.split(separator: "=", omittingEmptySubsequences: false)
                return (String(parts[0]), String(parts[1]))
            })
    }

    private static func text(_ list: HeaderList) -> String {
        #expect(list.fields.count == list.count)
        #expect(list.listSize == list.fields.reduce(0) { $0 + $1.name.utf8.count + $1.value.utf8.count + 32 })
        return list.fields.map { "\($0.name)=\($0.value)" }.joined(separator: " ")
    }

    private static func bytes(_ text: String, _ body: (UnsafeRawBufferPointer) -> Void) {
        Array(text.utf8).withUnsafeBytes(body)
    }

    @Test func settingReplacesTheFirstInItsPlaceAndTakesTheOthersAway() {
        for value in ["", "x", "xy", "a-much-longer-value-than-before"] {
            var list = Self.list("a=1 b=22 c=3 b=4 d=5 b=")
            list.set("b", value)
            #expect(Self.text(list) == "a=1 b=\(value) c=3 d=5")
        }
    }

    @Test func settingWhatIsNotThereAppendsIt() {
        var list = Self.list("a=1")
        list.set("b", "2")
        Self.bytes("3") { list.set("c", value: $0) }
        #expect(Self.text(list) == "a=1 b=2 c=3")
        var empty = HeaderList()
        empty.set("a", "1")
        #expect(Self.text(empty) == "a=1")
    }

    @Test func removalTellsHowManyWentAndKeepsTheOrderOfTheRest() {
        var list = Self.list("a=1 b=2 a=3 c=4 a=5")
        #expect(list.remove("a") == 3)
        #expect(Self.text(list) == "b=2 c=4")
        #expect(list.remove("a") == 0)
        Self.bytes("c") { #expect(list.remove(bytes: $0) == 1) }
        #expect(Self.text(list) == "b=2")
        #expect(list.remove("b") == 1)
        #expect(list.isEmpty)
    }

    @Test func fieldsGoByWhatTheyAreAndWhatTheySay() {
        var list = Self.list("x-a=1 y=2 x-b=2 z=3")
        #expect(
            list.removeAll { name, value in name.first == UInt8(ascii: "x") && value.equals(StaticString("2").bytes) }
                == 1)
        #expect(Self.text(list) == "x-a=1 y=2 z=3")
    }

    @Test func insertionIsBeforeTheFieldAtThatIndex() {
        for (index, expected) in [(0, "n=v a=1 b=2"), (1, "a=1 n=v b=2"), (2, "a=1 b=2 n=v")] {
            var list = Self.list("a=1 b=2")
            Self.bytes("n") { name in Self.bytes("v") { list.insert(name: name, value: $0, at: index) } }
            #expect(Self.text(list) == expected)
        }
    }

    @Test func lookupFindsTheFirstValueEachValueAndTheJoinedOne() {
        let list = Self.list("accept=a b=2 accept=c b= accep=x")
        #expect(list["accept"] == "a")
        #expect(list["acceptt"] == nil)
        #expect(list.withValue(of: "b") { $0.count } == 1)
        #expect(list.withValue(of: "none") { $0.count } == nil)
        #expect(list.contains("accep") && !list.contains("acce"))
        #expect(
            list.value(of: "b", equals: "2") && !list.value(of: "b", equals: "") && !list.value(of: "n", equals: ""))
        var values: [String] = []
        list.forEachValue(of: "accept") { values.append(String(decoding: $0, as: UTF8.self)) }
        #expect(values == ["a", "c"])
        Self.bytes("accept") {
            #expect(list.joinedValue(ofBytes: $0) == Array("a,c".utf8))
            #expect(list.count(ofBytes: $0) == 2)
        }
        Self.bytes("b") { #expect(list.joinedValue(ofBytes: $0) == Array("2,".utf8)) }
        Self.bytes("no") { #expect(list.joinedValue(ofBytes: $0) == nil) }
    }

    @Test func aCopyIsWrittenWithItsChangesInOnePass() {
        let list = Self.list("a=1 b=2 c=3")
        let copy = list.rewritten { name, value, copy in
            if name.equals(StaticString("b").bytes) { return }
            copy.append(name: name, value: value)
            if name.equals(StaticString("c").bytes) { copy.append("d", "4") }
        }
        #expect(Self.text(copy) == "a=1 c=3 d=4")
        #expect(Self.text(list) == "a=1 b=2 c=3")
    }

    @Test func changesToACopyLeaveTheOriginalAlone() {
        let list = Self.list("a=1 b=2")
        var copy = list
        copy.set("a", "9")
        copy.remove("b")
        #expect(Self.text(list) == "a=1 b=2")
        #expect(Self.text(copy) == "a=9")
    }

    @Test func valuesAreBytesNotText() {
        var list = HeaderList()
        [UInt8]([0xff, 0x80]).withUnsafeBytes { list.append("a", value: $0) }
        #expect(list.withValue(of: "a") { Array($0) } == [0xff, 0x80])
        #expect(list.withValue(of: "a") { $0.equals($0) } == true)
    }

    @Test func namesCompareWithoutCaseWhereAsked() {
        Self.bytes("Keep-Alive") {
            #expect($0.equalsIgnoringCase("keep-alive"))
            #expect(!$0.equalsIgnoringCase("keep-alivf"))
            #expect(!$0.equalsIgnoringCase("keep-aliv"))
        }
        // Only letters have a case: '@' and '`' differ in the same bit.
        Self.bytes("@") { #expect(!$0.equalsIgnoringCase("`")) }
    }
}

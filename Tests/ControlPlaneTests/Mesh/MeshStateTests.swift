import GRPC
import Mesh
import Store
import Testing
import Time

@testable import ControlPlane

/// Objects as users write them, short.
enum Written {
    static func service(_ name: String, port: Int = 80, comment: String = "") -> String {
        """
        \(comment)apiVersion: v1
        kind: Service
        metadata:
          name: \(name)
        spec:
          ports:
          - port: \(port)
            name: http

        """
    }

    static func route(_ name: String, to host: String, weight: Int = 100) -> String {
        """
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata:
          name: \(name)
        spec:
          hosts: [\(name)]
          http:
          - route:
            - destination:
                host: \(host)
              weight: \(weight)

        """
    }

    static func all(_ texts: String...) -> String { texts.joined(separator: "---\n") }
}

private let now = Timestamp(seconds: 1_000)

extension MeshState {
    /// The state after a request.
    fileprivate func applying(_ text: String) throws -> MeshState {
        adopting(try planning(MeshRequest(applying: text), now: now), as: revision + 1)
    }
}

private func kinds(_ plan: MeshPlan) -> [String] { plan.changes.map { "\($0.key.name) \($0.kind)" } }

/// What a request is refused with.
private func refusal(_ state: MeshState, _ request: MeshRequest) -> MeshRequestError? {
    do throws(MeshRequestError) {
        _ = try state.planning(request, now: now)
        return nil
    } catch {
        return error
    }
}

struct MeshStateTests {
    @Test func aPlanSaysWhatChangesAndChangesNothing() throws {
        let state = try MeshState().applying(Written.all(Written.service("a"), Written.service("b")))
        var request = MeshRequest(
            applying: Written.all(Written.service("a"), Written.service("b", port: 81), Written.service("c")),
            file: "abc.yaml")
        (request.author, request.message) = ("ada", "why")
        let plan = try state.planning(request, now: now)
        #expect(kinds(plan) == ["a unchanged", "b configured", "c created"])
        #expect((plan.base, plan.author, plan.message, plan.time) == (1, "ada", "why", now))
        #expect(plan.indexChanges.count == 2 && plan.next.count == 3 && state.index.count == 2)
        #expect(plan.changes[1].before?.text.contains("port: 80") == true)
        #expect(plan.changes[1].after?.text.contains("port: 81") == true)
        let next = state.adopting(plan, as: 2)
        #expect(next.revision == 2 && next.revision(of: ObjectKey(.service, "default", "a")) == 1)
        #expect(next.revision(of: ObjectKey(.service, "default", "b")) == 2)
    }

    @Test func aCommentIsNoChangeAndItsTextIsKept() throws {
        let state = try MeshState().applying(Written.service("a"))
        let plan = try state.planning(MeshRequest(applying: Written.service("a", comment: "# x\n")), now: now)
        #expect(plan.isEmpty && kinds(plan) == ["a unchanged"] && plan.respelled.count == 1)
        #expect(plan.next[ObjectKey(.service, "default", "a")]?.source.text.hasPrefix("# x") == true)
    }

    @Test func pruningRemovesWhatIsNotGiven() throws {
        let state = try MeshState().applying(
            Written.all(Written.service("a"), Written.service("b"), Written.service("c")))
        var request = MeshRequest(applying: Written.service("b"))
        request.prunes = true
        #expect(kinds(try state.planning(request, now: now)) == ["b unchanged", "a removed", "c removed"])
    }

    @Test func removingWhatIsNotThereIsAnErrorUnlessToldOtherwise() throws {
        let state = try MeshState().applying(Written.service("a"))
        var request = MeshRequest()
        request.removing = ["a", "b"].map { ObjectKey(.service, "default", $0) }
        guard case .missing(let keys) = refusal(state, request) else {
            Issue.record("not missing")
            return
        }
        #expect(keys == [ObjectKey(.service, "default", "b")])
        request.ignoresMissing = true
        #expect(kinds(try state.planning(request, now: now)) == ["a removed"])
    }

    @Test func aStaleBaseIsRefused() throws {
        let state = try MeshState().applying(Written.service("a"))
        var request = MeshRequest(applying: Written.service("b"))
        for base: Int64 in [0, 2] {
            request.base = base
            guard case .stale(base, 1, _) = refusal(state, request) else {
                Issue.record("not stale")
                continue
            }
        }
        request.base = 1
        #expect(refusal(state, request) == nil)
    }

    @Test func whatIsWrongIsToldOnItsLineAndNothingIsPlanned() throws {
        var request = MeshRequest()
        request.documents = [
            MeshRequest.Document(
                file: "a.yaml", bytes: Array(Written.all(Written.service("a"), "apiVersion: v1\nkind: Servise\n").utf8)),
            MeshRequest.Document(
                file: "b.yaml",
                bytes: Array(Written.route("r", to: "a").replacing("weight: 100", with: "wieght: 1").utf8)),
            MeshRequest.Document(file: "c.yaml", bytes: Array(Written.service("a").utf8)),
        ]
        guard case .refused(let errors) = refusal(MeshState(), request) else {
            Issue.record("not refused")
            return
        }
        #expect(errors.findings.map { "\($0.file ?? ""):\($0.position?.line ?? 0)" } == ["a.yaml:11", "b.yaml:11"])
        #expect(errors.findings[1].mend.contains("did you mean `weight`"))
        request.documents.remove(at: 1)
        request.documents[0].bytes = Array(Written.service("a").utf8)
        guard case .refused(let twice) = refusal(MeshState(), request) else {
            Issue.record("not refused")
            return
        }
        #expect(twice.findings.map(\.kind) == [.duplicateObject] && twice.findings[0].file == "c.yaml")
    }

    @Test func aReferenceToNothingIsAWarningAndAnErrorWhereThatIsAskedFor() throws {
        var request = MeshRequest(applying: Written.route("r", to: "nobody"), file: "r.yaml")
        let plan = try MeshState().planning(request, now: now)
        #expect(plan.findings.contains { $0.kind == .unknownHost && $0.severity == .warning })
        request.isStrict = true
        guard case .refused(let errors) = refusal(MeshState(), request) else {
            Issue.record("not refused")
            return
        }
        #expect(errors.findings.contains { $0.kind == .unknownHost && $0.position?.line == 10 })
    }

    @Test func removingWhatOthersNameWarnsOfThem() throws {
        let state = try MeshState().applying(Written.all(Written.service("a"), Written.route("a", to: "a")))
        var request = MeshRequest()
        request.removing = [ObjectKey(.service, "default", "a")]
        let plan = try state.planning(request, now: now)
        #expect(
            plan.findings.contains {
                $0.kind == .unknownHost && $0.object == ObjectKey(.virtualService, "default", "a")
            }
        )
    }

    @Test func theItemsOfAListGetTextsOfTheirOwnAndALongListIsReadOnce() throws {
        let items = (0..<2_000).map {
            "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"s\($0)\"}}"
        }
        let list = "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n" + items.joined(separator: ",\n") + "]}"
        let plan = try MeshState().planning(MeshRequest(applying: list, file: "list.json"), now: now)
        #expect(plan.changes.count == 2_000)
        for change in plan.changes {
            let source = try #require(change.after)
            #expect(source.item == nil && source.text.utf8.count < 200)
            let again = try MeshObject(change.key.stored, ObjectSpelling(source))
            #expect(again.isAlike(try #require(plan.next[change.key])))
        }
    }

    @Test func whatExplodesOrIsNoTextIsRefusedOnItsLine() throws {
        let anchors =
            (0..<9).map { level in
                "a\(level): &a\(level) ["
                    + (0..<9).map { _ in level == 0 ? "x" : "*a\(level - 1)" }.joined(separator: ",") + "]"
            }.joined(separator: "\n")
        let million =
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  externalIPs:\n"
            + String(repeating: "  - a\n", count: 1_000_000)
        let texts: [([UInt8], MeshFinding.Kind, Int)] = [
            (Array(("apiVersion: v1\nkind: Service\n" + anchors).utf8), .tooMuch, 9),
            (Array("apiVersion: v1\nkind: Service\nmetadata:\n\tname: a\n".utf8), .syntax, 4),
            (Array("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  name: b\n".utf8), .contradiction, 4),
            (Array("apiVersion: v1\nkind: Service\nmetadata:\n  name: ".utf8) + [0xC3, 0x28, 0x0A], .syntax, 4),
            (Array(million.utf8), .tooMuch, 0),
        ]
        for (bytes, kind, line) in texts {
            var request = MeshRequest()
            request.documents = [MeshRequest.Document(file: "bad.yaml", bytes: bytes)]
            guard case .refused(let errors) = refusal(MeshState(), request) else {
                Issue.record("\(kind) is accepted")
                continue
            }
            let first = try #require(errors.findings.first)
            #expect(first.kind == kind && first.file == "bad.yaml" && !first.mend.isEmpty, "\(first)")
            if line > 0 { #expect(first.position?.line == line, "\(first)") }
        }
    }

    @Test func requestsAreBounded() throws {
        var state = MeshState()
        state.objectLimit = 2
        let three = Written.all(Written.service("a"), Written.service("b"), Written.service("c"))
        guard case .tooManyObjects(2) = refusal(state, MeshRequest(applying: three)) else {
            Issue.record("accepted")
            return
        }
        var request = MeshRequest(applying: Written.service("a"))
        request.message = String(repeating: "x", count: MeshRequest.longestWords + 1)
        guard case .wordsTooLong("message", _) = refusal(state, request) else {
            Issue.record("accepted")
            return
        }
        // A refusal fits into a status, with its mend.
        let many = ObjectErrors(
            (0..<50).map { index in
                MeshFinding(
                    .error, .invalidValue, object: nil, file: "f", position: nil, path: "p\(index)",
                    String(repeating: "w", count: 300), mend: "m")
            })
        let status = GRPCStatus(MeshRequestError.refused(many))
        #expect(status.message.utf8.count < 4_096 && status.message.hasSuffix("nothing was changed"))
    }

    @Test func aSecretThatComesBackRedactedIsRefused() throws {
        let text = """
            apiVersion: v1
            kind: Secret
            metadata:
              name: key
            stringData:
              password: hunter2
            """
        let state = try MeshState().applying(text)
        let key = ObjectKey(.secret, "default", "key")
        let shown = try #require(state.index[key]?.source.shown(as: key))
        #expect(!shown.contains("hunter2") && shown.contains(redactedKey) && shown.contains("namespace: default"))
        guard case .refused(let errors) = refusal(state, MeshRequest(applying: shown)) else {
            Issue.record("accepted")
            return
        }
        #expect(errors.findings[0].words.contains("left out"))
    }

    @Test(arguments: [
        "apiVersion: v1\nkind: Service\n# why\nmetadata:\n  # its name\n  name: a\nspec: {ports: [{port: 1}]}\n",
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n",
        "{\"apiVersion\": \"v1\", \"kind\": \"ServiceAccount\", \"metadata\": {\"name\": \"a\"}}",
    ])
    func whatIsShownNamesItsNamespace(text: String) throws {
        var request = MeshRequest(applying: text)
        request.namespace = "shop"
        let plan = try MeshState().planning(request, now: now)
        let key = try #require(plan.changes.first?.key)
        #expect(key.namespace == "shop")
        let object = try #require(plan.next[key])
        let shown = object.source.shown(as: key)
        let again = try ObjectText(Array(shown.utf8)).objects
        #expect(again.count == 1 && again[0].isAlike(object))
        if text.contains("# why") { #expect(shown.contains("# why\nmetadata:\n  # its name\n  namespace: shop\n")) }
    }

    @Test(arguments: [
        ("", true), ("app=a", true), ("app==a,tier=x", true), ("app!=a", false), ("app=b", false), ("tier", true),
        ("!tier", false), ("!old, app = a", true),
    ])
    func labelExpressionsSelectAsKubectlDoes(text: String, matches: Bool) throws {
        #expect(try #require(LabelExpression(text)).matches(["app": "a", "tier": "x"]) == matches)
    }

    @Test(arguments: ["=", "a,,b", "a b", "!", "=v"])
    func whatIsNoLabelExpressionIsRefused(text: String) {
        #expect(LabelExpression(text) == nil)
    }
}

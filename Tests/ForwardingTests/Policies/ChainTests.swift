import EnvoyAPI
import HTTP
import Protobuf
import Testing
import Time

@testable import Forwarding

struct ChainTests {
    private let deny = #"{"rules": {"action": "ALLOW"}}"#

    private func settings(_ levels: [(String, FilterSetting)]) -> FilterSettings {
        levels.reduce(.none) { $0.adding([(name: $1.0, setting: $1.1)]) }
    }

    private func names(_ filters: [HTTPFilter]) -> [String] {
        filters.map { filter in
            switch filter {
            case .accessControl(let control):
                control.map { $0.decide(request()).isAllowed ? "allows" : "denies" } ?? "asks nothing"
            case .tokens(_, let setting): setting.map { "tokens \($0)" } ?? "tokens"
            case .localRateLimit(let limit): "limit \(limit.status)"
            case .fault(let fault): fault.isEmpty ? "no fault" : "fault"
            case .crossOrigin(let policy): policy == nil ? "no origins" : "origins"
            case .externalAuthorization: "asks"
            case .statefulSession: "session"
            case .headerMutation(let mutations):
                "heads " + mutations.map { value($0) }.joined(separator: ",")
            case .bodyLimit(let limit): "body \(limit.bytes)"
            case .fixedMetadata: "metadata"
            case .grpcWeb: "web"
            case .grpcStatistics: "statistics"
            }
        }
    }

    private func value(_ mutations: HeaderMutations) -> String {
        var head = HeaderList()
        mutations.applyToRequest(&head) { preconditionFailure("constant values need no facts") }
        return head.fields.map(\.value).joined()
    }

    @Test func filtersKeepTheirOrderAndRoutesReplaceWhatTheySay() throws {
        let chain = try HTTPFilterChain([
            setting("rbac", "rbac.v3.RBAC", deny), setting("fault", "fault.v3.HTTPFault", "{}"),
            setting("cors", "cors.v3.Cors", "{}"), setting("stats", "grpc_stats.v3.FilterConfig", "{}"),
        ])
        #expect(names(chain.applying(.none)) == ["denies", "no fault", "no origins", "statistics"])
        let route = settings([
            ("rbac", try routeSetting("rbac.v3.RBACPerRoute", "{}")),
            ("fault", try routeSetting("fault.v3.HTTPFault", #"{"abort": {"http_status": 500}}"#)),
            ("cors", try routeSetting("cors.v3.CorsPolicy", #"{"allow_methods": "GET"}"#)),
        ])
        #expect(names(chain.applying(route)) == ["asks nothing", "fault", "origins", "statistics"])
    }

    @Test func aFilterCanBeTurnedOffAndOn() throws {
        func wrapped(_ fields: String) throws -> FilterSetting {
            try routeSetting("envoy.config.route.v3.FilterConfig", fields)
        }
        let chain = try HTTPFilterChain([
            setting("a", "rbac.v3.RBAC", deny), setting("b", "rbac.v3.RBAC", deny, isDisabled: true),
        ])
        #expect(chain.applying(.none).count == 1)
        let off = settings([("a", try wrapped(#"{"disabled": true, "config": {}}"#))])
        #expect(chain.applying(off).isEmpty)
        let inner = packed("rbac.v3.RBACPerRoute", #"{"rbac": {}}"#)
        let on = settings([("b", try wrapped(#"{"config": \#(inner)}"#))])
        #expect(names(chain.applying(on)) == ["denies", "allows"])
        // The most special level has the last word.
        let both = settings([
            ("a", try wrapped(#"{"disabled": true}"#)),
            ("a", try routeSetting("rbac.v3.RBACPerRoute", #"{"rbac": {}}"#)),
        ])
        #expect(names(chain.applying(both)) == ["allows"])
    }

    @Test func headChangesOfAllLevelsAreMadeInTheOrderAskedFor() throws {
        func mutation(_ value: String) -> String {
            #"{"mutations": {"request_mutations": [{"append": {"header": {"key": "a", "value": "\#(value)"}}}]}}"#
        }
        let levels = settings([
            ("h", try routeSetting("header_mutation.v3.HeaderMutationPerRoute", mutation("table"))),
            ("h", try routeSetting("header_mutation.v3.HeaderMutationPerRoute", mutation("route"))),
        ])
        let first = try HTTPFilterChain([setting("h", "header_mutation.v3.HeaderMutation", mutation("own"))])
        #expect(names(first.applying(levels)) == ["heads own,route,table"])
        let wins = mutation("own").dropLast() + #", "most_specific_header_mutations_wins": true}"#
        let last = try HTTPFilterChain([setting("h", "header_mutation.v3.HeaderMutation", String(wins))])
        #expect(names(last.applying(levels)) == ["heads own,table,route"])
    }

    @Test func headersAreRemovedByNameAndByPattern() throws {
        guard
            case .headerMutation(let mutations) = try filter(
                "header_mutation.v3.HeaderMutation",
                """
                {"mutations": {"request_mutations": [{"remove": "x-a"},
                 {"remove_on_match": {"key_matcher": {"prefix": "x-b"}}},
                 {"append": {"header": {"key": "x-b2", "value": "new"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}],
                 "response_mutations": [{"remove": "server"}]}}
                """)
        else { throw ConfigurationError.invalid(path: "", message: "no mutations") }
        var head = request("GET", "/", [("x-a", "1"), ("x-b1", "2"), ("x-b2", "3"), ("x-c", "4")]).head
        mutations[0].applyToRequest(&head) { preconditionFailure("constant values need no facts") }
        #expect(head.fields.dropFirst(4).map { "\($0.name)=\($0.value)" } == ["x-c=4", "x-b2=new"])
        var response = HeaderList([(":status", "200"), ("server", "x")])
        mutations[0].applyToResponse(&response) { preconditionFailure("constant values need no facts") }
        #expect(response.text("server") == nil)
    }

    @Test func metadataIsSet() throws {
        guard
            case .fixedMetadata(let fixed) = try filter(
                "set_metadata.v3.Config",
                """
                {"metadata": [{"metadata_namespace": "a", "value": {"k": 1}},
                 {"metadata_namespace": "b", "value": {"k": 2}, "allow_overwrite": true}]}
                """)
        else { throw ConfigurationError.invalid(path: "", message: "no metadata") }
        var metadata = FilterMetadata()
        metadata.merge("a", [.init("k", "old")])
        metadata.merge("b", [.init("k", "old"), .init("l", "kept")])
        fixed.apply(to: &metadata)
        #expect(metadata.value("a", at: ["k"]) == "old")
        #expect(metadata.value("b", at: ["k"]) == 2 && metadata.value("b", at: ["l"]) == "kept")
    }

    @Test func whatNobodyKnowsIsRefusedUnlessItIsOptional() throws {
        let lua = try setting("my-lua", "lua.v3.Lua", "{}")
        do {
            _ = try HTTPFilterChain([lua])
            Issue.record("taken")
        } catch {
            #expect(error.path == "http_filters[0].typed_config" && error.problem.contains("my-lua"))
        }
        let optional = try setting("my-lua", "lua.v3.Lua", "{}", isOptional: true)
        #expect(try HTTPFilterChain([optional]).entries.isEmpty)
        // One that is known is not taken half, optional or not.
        let half = try setting("r", "rbac.v3.RBAC", #"{"matcher": {}}"#, isOptional: true)
        #expect(throws: ConfigurationError.self) { try HTTPFilterChain([half]) }
        #expect(throws: ConfigurationError.self) { try routeSetting("lua.v3.LuaPerRoute", "{}") }
        // Nor is it left out because of fields that are of another version: field 1000, a varint.
        let newer = ExtensionSetting(
            name: "r", typeName: HttpRBAC.descriptor.fullName, bytes: [0xC0, 0x3E, 0x01], isOptional: true)
        #expect(throws: ConfigurationError.self) { try HTTPFilterChain([newer]) }
        #expect(throws: ConfigurationError.self) {
            try RoutePolicy.read(HttpRBACPerRoute.descriptor.fullName, [0xC0, 0x3E, 0x01], isOptional: true)
        }
        #expect(try RoutePolicy.read("no.such.Filter", [0xC0, 0x3E, 0x01], isOptional: true) == nil)
    }

    @Test func theKindsThatAreKnownAreThoseThatAreRead() {
        for type in HTTPFilter.knownTypes.union(RoutePolicy.knownTypes) {
            #expect(envoyTypes.descriptor(typeURL: "type.googleapis.com/\(type)") != nil, "\(type)")
        }
        func isUnknown(_ body: () throws -> Void) -> Bool {
            do {
                try body()
            } catch let error as ConfigurationError {
                return error.path.isEmpty && error.problem.contains("supported") && error.problem.contains("filter")
            } catch {
                Issue.record(error)
            }
            return false
        }
        for type in HTTPFilter.knownTypes { #expect(!isUnknown { _ = try HTTPFilter.read("x", type, []) }, "\(type)") }
        for type in RoutePolicy.knownTypes {
            #expect(!isUnknown { _ = try RoutePolicy.read(type, [], isOptional: false) }, "\(type)")
        }
    }
}

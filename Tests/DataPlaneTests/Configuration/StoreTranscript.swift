import Testing
import Time
import XDS

@testable import DataPlane

// A transcript is what happens to a store, line by line at the margin; the indented lines below are what it decided.
//
//     update CDS web v1 eds=web secret=default     a resource is accepted; `route=`, `cluster=` likewise, repeatable
//     update CDS web v1 eds=web wait=2s            with an `initial_fetch_timeout`
//     cached CDS web v1 …                          the same, from the cache on disk
//     remove CDS web / absent EDS web              the control plane takes it away / has none
//     answered CDS                                 a response of that type has come
//     after 5s                                     virtual time passes
//
// Lines joined by ` + ` happen in one turn. `serve` shows what changed: `CDS web=v1`, `-LDS in`.

func expectTranscript(
    own: Set<String> = [], _ text: String, sourceLocation: SourceLocation = #_sourceLocation
) throws {
    var runner = StoreTranscript(own: own)
    #expect(try runner.run(text) == text, sourceLocation: sourceLocation)
}

struct StoreTranscript {
    private var store: ResourceStore<String>
    private var now = Instant(nanoseconds: 0)
    private var last = ResourceTable<String>()
    private var output: [String] = []

    struct Mistake: Error { var line: String }

    init(own: Set<String>) { store = ResourceStore(ownSecrets: own) }

    mutating func run(_ text: String) throws -> String {
        for line in text.split(separator: "\n") where !line.hasPrefix(" ") {
            output.append(String(line))
            for step in String(line).components(" + ") {
                try perform(step.split(separator: " ").map(String.init), line: String(line))
            }
            for action in store.settle(now: now) { show(action) }
        }
        return output.joined(separator: "\n")
    }

    private mutating func perform(_ words: [String], line: String) throws {
        if words[0] == "after" {
            guard let seconds = Double(words[1].dropLast()) else { throw Mistake(line: line) }
            now = now.advanced(by: .milliseconds(Int64(seconds * 1000)))
            return
        }
        guard let type = ResourceType(shortName: words[1]) else { throw Mistake(line: line) }
        switch words[0] {
        case "update", "cached":
            var references = ResourceReferences()
            for word in words.dropFirst(4) {
                let pair = word.split(separator: "=").map(String.init)
                switch pair[0] {
                case "eds": references.endpoints.insert(pair[1])
                case "secret": references.secrets.insert(pair[1])
                case "route": references.routes.insert(pair[1])
                case "cluster": references.clusters.insert(pair[1])
                case "wait":
                    references.patience =
                        pair[1] == "0s" ? ResourceReferences.forever : .seconds(Int(pair[1].dropLast()) ?? 0)
                default: throw Mistake(line: line)
                }
            }
            store.update(
                type, name: words[2], version: words[3], references: references, value: words[3],
                isCached: words[0] == "cached", now: now)
        case "remove": store.remove(type, name: words[2])
        case "absent": store.noteAbsent(type, name: words[2])
        case "answered": store.noteAnswer(type, now: now)
        default: throw Mistake(line: line)
        }
    }

    private mutating func show(_ action: ResourceStore<String>.Action) {
        switch action {
        case .subscribe(let type, let names): output.append("    subscribe \(type) \(names.joined(separator: " "))")
        case .unsubscribe(let type, let names):
            output.append("    unsubscribe \(type) \(names.joined(separator: " "))")
        case .servesWithout(let type, let name, let missing):
            output.append("    \(type) \(name) serves without \(missing.joined(separator: ", "))")
        case .serve(let table):
            var changes: [String] = []
            for type in ResourceType.all {
                for name in Set(table[type].keys).union(last[type].keys).sorted() {
                    let (old, new) = (last[type, name]?.value, table[type, name]?.value)
                    if let new, old != new { changes.append("\(type) \(name)=\(new)") }
                    if new == nil { changes.append("-\(type) \(name)") }
                }
            }
            last = table
            output.append("    serve " + changes.joined(separator: ", "))
        }
    }
}

extension String {
    fileprivate func components(_ separator: String) -> [String] {
        var (parts, rest) = ([String](), self[...])
        while let range = rest.firstRange(of: separator) {
            parts.append(String(rest[..<range.lowerBound]))
            rest = rest[range.upperBound...]
        }
        return parts + [String(rest)]
    }
}

/// The way from the root of a document to a place in it; text only when it is asked for.
package struct DocumentPath: Sendable {
    package enum Step: Hashable, Sendable {
        case field(String)
        case index(Int)
        case key(String)
    }

    package private(set) var steps: [Step] = []

    package init(_ start: [Step] = []) {
        steps = start
    }

    package mutating func push(_ step: Step) {
        steps.append(step)
    }

    package mutating func pop() {
        steps.removeLast()
    }

    /// `resources[3].metadata["key"]`
    package var description: String {
        var text = ""
        for step in steps {
            switch step {
            case .field(let name): text += text.isEmpty ? name : "." + name
            case .index(let index): text += "[\(index)]"
            case .key(let key): text += "[\"\(excerpt(key))\"]"
            }
        }
        return text
    }
}

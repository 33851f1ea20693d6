import Documents

/// What a fuzzer calls: any bytes as a text of objects. They are refused with errors that have words, or what was read
/// is read again as the same from its own JSON, and the index takes it and can tell what does not fit.
/// - Returns: whether the text was accepted.
@discardableResult
public func fuzzObjects(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let objects: [MeshObject]
    do throws(ObjectErrors) {
        objects = try ObjectText(Array(bytes), limits: TextLimits(bytes: 1 << 20, nodes: 20_000)).objects
    } catch {
        precondition(
            !error.findings.isEmpty && error.findings.count <= ObjectErrors.limit, "a refusal without a reason")
        precondition(error.findings.allSatisfy { $0.severity == .error && !$0.description.isEmpty }, "no words")
        return false
    }
    for object in objects {
        do throws(ObjectErrors) {
            let again = try ObjectText(Array(object.source.json.utf8), file: "again.json").objects
            precondition(again.contains { $0.isAlike(object) }, "its JSON says something else: \(object.source.json)")
        } catch {
            preconditionFailure("what was accepted is refused as JSON: \(error)\n\(object.source)")
        }
    }
    var index = MeshIndex(objects)
    for finding in index.findings() { precondition(finding.object != nil && !finding.words.isEmpty, "no words") }
    for object in objects { index.apply(.remove(object.key)) }
    precondition(index.keys.isEmpty && index.findings().isEmpty, "something is left of what was removed")
    return true
}

// SPDX-License-Identifier: Apache-2.0
// Rules of Kubernetes that join several fields of one object: what the API server would refuse is
// refused here, since nobody else does in file mode. Rules of single fields are in field_rules.h;
// addresses are judged one by one where they are used (control/desired).
#pragma once

#include <vector>

#include "control/model/endpoint_slice.pb.h"
#include "control/model/node.pb.h"
#include "control/model/service.pb.h"
#include "control/source/message_reader.h"
#include "control/source/value_tree.h"

namespace sluice {

// `object` is where the message was read from in `tree`. Problems make the object unfit as a whole;
// remarks are to be reported, and the object stands. Thread-safe.
void CheckMetadata(const ValueTree& tree, ValueTree::Id object, const model::ObjectMeta& metadata,
                   std::vector<FieldProblem>& problems);
void CheckObject(const ValueTree& tree, ValueTree::Id object, const model::Service& service,
                 std::vector<FieldProblem>& problems, std::vector<FieldProblem>& remarks);
void CheckObject(const ValueTree& tree, ValueTree::Id object, const model::EndpointSlice& slice,
                 std::vector<FieldProblem>& problems, std::vector<FieldProblem>& remarks);
void CheckObject(const ValueTree& tree, ValueTree::Id object, const model::Node& node,
                 std::vector<FieldProblem>& problems, std::vector<FieldProblem>& remarks);

}  // namespace sluice
